"""Hand on the records of finished runs: `python -m analysis.submit --runs runs/mine`.

Copied are the per-seed evaluations and training curves, the configuration and what made it; not code, logs,
checkpoints or anything that names a place on this machine. Given again with more runs, it adds them.

They go to --out, or to the submission below results/submissions/<regime>/ that has one of the runs, else to a new one
there, <date>_<agent>/; regime and date are as the records have them.
"""

from __future__ import annotations

from benchmark.common.errors import printable, run_main
from benchmark.common.options import Parser, folder, input_folder


def parser() -> Parser:
    """The command line's options."""
    parser = Parser(prog="python -m analysis.submit", description=__doc__.split(":")[0])
    parser.add_argument("--runs", nargs="+", required=True, help="folders that hold runs, at any depth")
    parser.add_argument("--out", help="folder of the submission: new, or one that grows (default: by its regime)")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    options = parser().parse_args(arguments)
    folders = [input_folder("--runs", name) for name in options.runs]
    asked = folder("--out", options.out) if options.out else None
    from analysis.reading.loading import load_runs  # pandas
    from analysis.submissions.checking import verify
    from analysis.submissions.making import submit
    from analysis.submissions.standing import default_folder

    out = asked or default_folder(load_runs(*folders, cache=False))
    if not asked and out.exists():
        print(f"{out} is there, and is added to (--out names another folder)")
    taken, left = submit(folders, out)
    for sentence in left:
        print(printable(f"left out: {sentence}"))
    verdict = verify(out)
    for agent, regime in verdict.regimes.items():
        print(printable(f"regime of {agent}: {regime}"))
    there = f", {len(verdict.runs)} there" if verdict.runs else ""
    print(f"{out}: {len(taken)} run{'s' * (len(taken) > 1)} taken in{there}; python -m analysis.verify {out} checks it")
    return 0


if __name__ == "__main__":
    run_main(main)
