"""Where policies fail, from the episodes that `benchmark.evaluate` played.

    python -m benchmark.evaluate --policy runs/ogbench/rql --seeds 100 --episodes 50
    python -m analysis.failures runs/ogbench/rql

Of each agent and task: how episodes end (solved, at the time limit, or before), how long those are that are solved,
whether seeds solve the same episodes, and, where a task asks for several things, which of them failed episodes lack.
"""

from __future__ import annotations

import sys

from benchmark.common.errors import run_main
from benchmark.common.options import Parser, input_folder


def parser() -> Parser:
    """The command line's options."""
    parser = Parser(prog="python -m analysis.failures", description="Say where policies fail.")
    parser.add_argument("folders", nargs="+", metavar="DIR", help="folders that hold an episodes.csv, at any depth")
    return parser


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    folders = [input_folder("DIR", name) for name in parser().parse_args(arguments).folders]
    from analysis.reading.episodes import read_episodes
    from analysis.tabulating.failures import told

    sys.stdout.write(told(read_episodes(folders)))


if __name__ == "__main__":
    run_main(main)
