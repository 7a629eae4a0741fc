"""What is in dataset files of mazes, side by side: `python -m envs.describe FILE [FILE ...] --out coverage.png`

Sizes, lengths of episodes, how fast and how far the body moves, how much of the maze it visits, and of files that were
generated here how many episodes reach a goal. A published file beside a generated one says whether both are alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmark.common.errors import run_main
from benchmark.common.options import Parser, input_file, output_file


def parser() -> Parser:
    """The command line's options."""
    parser = Parser(prog="python -m envs.describe", description="Facts of mazes' dataset files, side by side.")
    parser.add_argument("files", nargs="+", metavar="FILE", help="e.g. runs/data/antmaze-large-navigate-v0.npz")
    parser.add_argument("--out", type=Path, metavar="FILE", help="a picture of where the body went (.png or .pdf)")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    options = parser().parse_args(arguments)
    paths = [input_file("files", name) for name in options.files]
    if options.out:
        output_file("--out", options.out)
    from envs.ogbench.describing import describe, draw, print_facts, read_walks

    walks = [read_walks(path) for path in paths]
    print_facts([(walk.path.name, describe(walk)) for walk in walks])
    if options.out:
        draw(walks, options.out)
        print(options.out)
    return 0


if __name__ == "__main__":
    run_main(main)
