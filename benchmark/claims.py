"""The paper's claims on policies of one's own: `python -m benchmark.claims --runs runs/small/{rql,fbrac,bam}/TASK/...`.

Takes finished runs of rql, fbrac and bam on one task, with their checkpoints, and of rql and tfql with other numbers of
flow steps, and writes what is measured of them: the error of reversing and going forward again, the spread of bootstrap
targets, how well values of partial actions order where they lead, how far the value of noise is from that of its
action, and the cost of an update against the number of flow steps. `analysis.figures --claims FILE` draws it.
"""

from __future__ import annotations

import argparse

from benchmark.common.errors import UserError, run_main
from benchmark.common.options import Parser, input_folder, output_file, whole_number

MOST_STATES = 100_000


def parser() -> Parser:
    """The command line's options."""
    parser = Parser(
        prog="python -m benchmark.claims", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", nargs="+", required=True, metavar="DIR", help="folders of rql, tfql, fbrac, bam")
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
    from benchmark.paper.claims import measure

    measure(runs, out, states)
    return 0


if __name__ == "__main__":
    run_main(main)
