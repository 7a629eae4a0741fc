"""The leaderboard: published figures and submissions by regime, on one page that needs nothing else.

    python -m analysis.leaderboard --out leaderboard.html

Shown is what `results/published/` has, and every submission below `results/` that `analysis.verify` finds whole; one
that it refuses is named with the reason. Every number leads to its evidence.
"""

from __future__ import annotations

from pathlib import Path

from benchmark.common.errors import run_main
from benchmark.common.options import Parser, input_folder, output_file


def parser() -> Parser:
    """The command line's options."""
    parser = Parser(prog="python -m analysis.leaderboard", description="Write the leaderboard as one HTML file.")
    parser.add_argument(
        "--out", default="leaderboard.html", metavar="FILE", help="the file (default: leaderboard.html)"
    )
    parser.add_argument("--results", metavar="DIR", help="folder whose submissions are shown (default: results/)")
    parser.add_argument("--title", default="Leaderboard", help="the page's heading")
    return parser


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    options = parser().parse_args(arguments)
    out = output_file("--out", options.out)
    results = input_folder("--results", options.results) if options.results else None
    from analysis.page.leaderboard import write_leaderboard  # pandas
    from analysis.submissions.standing import RESULTS

    print(write_leaderboard(Path(out), Path(results or RESULTS), options.title))


if __name__ == "__main__":
    run_main(main)
