"""The paper's claims on policies of one's own: `python -m benchmark.claims --runs runs/small/{rql,fbrac,bam}/TASK/...`.

Takes finished runs of rql, fbrac and bam on one task, with their checkpoints, and of rql and tfql with other numbers of
flow steps, and writes what is measured of them: the error of reversing and going forward again, the spread of bootstrap
targets, how well values of partial actions order where they lead, how far the value of noise is from that of its
action, and the cost of an update against the number of flow steps. --ablations takes finished runs of which each
differs in one hyperparameter from the first of its agent (their records are enough), and compares their final
evaluations. `analysis.figures --claims FILE` draws it.
"""

from __future__ import annotations

import argparse

from benchmark.common.errors import UserError, run_main
from benchmark.common.options import Parser, input_folder, output_file, whole_number
from benchmark.common.terminal import console, progress_bar

MOST_STATES = 100_000


def parser() -> Parser:
    """The command line's options."""
    parser = Parser(
        prog="python -m benchmark.claims", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", nargs="+", required=True, metavar="DIR", help="folders of rql, tfql, fbrac, bam")
    parser.add_argument("--ablations", nargs="+", default=[], metavar="DIR", help="runs with one choice made otherwise")
    parser.add_argument("--out", default="claims.json", help="file to write (default: claims.json)")
    parser.add_argument("--states", default="256", help="states of the data that are looked at (default: 256)")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    options = parser().parse_args(arguments)
    runs, out = [input_folder("--runs", name) for name in options.runs], output_file("--out", options.out)
    if out.suffix != ".json" or not out.absolute().parent.is_dir():
        raise UserError(f"--out must be a file ending in .json in a folder that is there, not '{options.out}'")
    states = whole_number("--states", options.states, low=2, high=MOST_STATES)
    ablated = [input_folder("--ablations", name) for name in options.ablations]
    from benchmark.paper.claims import measure

    with progress_bar(console) as progress:
        bar = progress.add_task("measuring", total=len(runs))
        measure(
            *(runs, out, states, ablated),
            on_progress=lambda done, what: progress.update(bar, completed=done, description=what),
        )
    return 0


if __name__ == "__main__":
    run_main(main)
