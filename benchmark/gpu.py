"""What is to be measured on a GPU, in blocks of nine minutes at most: `python -m benchmark.gpu --authors ../rql ../qam`

Each block leaves its rows, and one whose rows are there is skipped: stopped, the command goes on from there, and
--blocks=1 does the next one alone. The most telling come first: rql and fql with 1 and 12 seeds beside the authors'
code, with memory and the share of the device's peak; more seeds; evaluation, alone and beside training; qam, ifql and
dac; precisions, with what they do to returns; XLA's command buffers. The summary, printed and written beside the rows,
is the table of docs/speed.md.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmark.common.errors import run_main
from benchmark.common.options import Parser, folder, input_folder, whole_number


def parser() -> Parser:
    """The command line's options."""
    assert __doc__ is not None
    parser = Parser(
        prog="python -m benchmark.gpu", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--blocks", help="of those that are left, at most so many (default: all)")
    parser.add_argument("--minutes", default="9", help="at most, of a block (default: 9)")
    parser.add_argument("--authors", type=Path, nargs="+", default=[], metavar="DIR", help="as of benchmark.throughput")
    parser.add_argument("--authors-python", type=Path, default=Path(sys.executable), metavar="FILE", help="likewise")
    parser.add_argument("--out", help="folder of the rows (default: results/throughput)")
    parser.add_argument("--tiny", action="store_true", help="at sizes that a CPU carries, on any device, to try it")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line. Returns 1 where a block left no rows, else 0."""
    options = parser().parse_args(arguments)
    from benchmark.speed.blocks import Place, device_here, run_blocks
    from benchmark.speed.from_options import program
    from benchmark.speed.rates import FOLDER

    most = None if options.blocks is None else whole_number("--blocks", options.blocks)
    minutes = whole_number("--minutes", options.minutes, high=1440)
    authors = [input_folder("--authors", place).absolute() for place in options.authors]
    out = folder("--out", options.out or FOLDER).absolute()
    place = Place(device_here(options.tiny), out, authors, program(options.authors_python), options.tiny)
    return run_blocks(place, 60.0 * minutes, most)


if __name__ == "__main__":
    run_main(main)
