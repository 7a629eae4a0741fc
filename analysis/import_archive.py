"""Import the experiment archive of the QAM paper: per-seed curves of 16 baselines.

    python -m analysis.import_archive qam-exp-data.pkl --out qam_curves.csv
    python -m analysis.tables --runs runs/mine --archive qam_curves.csv

Tables, figures and the report take the archive, or the CSV made of it, with `--archive` and show its curves beside
one's own runs, by the same statistics; "fql (QAM archive)" is the name of FQL's there.

The archive is a pickle from the paper's public repository. It is read without running anything of it
(`analysis.reading.pickled`).
"""

from __future__ import annotations

from pathlib import Path

from benchmark.common.errors import UserError, run_main
from benchmark.common.options import Parser, output_file


def parser() -> Parser:
    """The command line's options."""
    assert __doc__ is not None
    parser = Parser(prog="python -m analysis.import_archive", description=__doc__.split("\n")[0])
    parser.add_argument("file", help="the archive, qam-exp-data.pkl")
    parser.add_argument("--out", help="write the curves there as CSV (default: say what is in the archive)")
    parser.add_argument("--online", action="store_true", help="the online phase too, steps above 1,000,000")
    return parser


def main(arguments: list[str] | None = None) -> None:
    """Run the command line."""
    options = parser().parse_args(arguments)
    if options.out is not None and not output_file("--out", options.out).parent.is_dir():
        raise UserError(f"cannot write '{options.out}': there is no folder {Path(options.out).parent}")
    # pandas takes a second, which `--help` need not wait for.
    from analysis.reading.archive import read_archive, write_csv

    archive = read_archive(options.file, options.online)
    curves = archive.curves
    print(
        f"{curves['agent'].nunique()} agents, {curves['task'].nunique()} tasks, {curves['seed'].nunique()} seeds, "
        f"steps {curves['step'].min():,} to {curves['step'].max():,}: {len(curves):,} evaluations"
    )
    for note in archive.notes:
        print(note)
    if options.out:
        write_csv(curves, options.out)
        print(f"written to {options.out}")


if __name__ == "__main__":
    run_main(main)
