"""The options that tables, figures and the report have in common, and the results that they ask for.

What is heavy is imported where it is needed, so that `--help` and a mistake in an option are answered at once.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from benchmark.common.errors import check_choice
from benchmark.common.options import Parser, input_file, input_folder, whole_number

if TYPE_CHECKING:
    from analysis.averaging.results import Results


def add_inputs(parser: Parser, needs_runs: bool = False) -> None:
    """Add what is read: runs, published figures, the archive, and how scores are made of them."""
    parser.add_argument("--runs", nargs="+", default=[], required=needs_runs, metavar="DIR", help="folders of runs")
    parser.add_argument("--published", action="store_true", help="show the published figures beside them")
    parser.add_argument("--archive", metavar="FILE", help="the QAM archive: its curves beside them")
    parser.add_argument("--last", default="1", help="1: final evaluation (default); 3: mean of the last three")
    parser.add_argument("--diverged", default="zero", help="zero (default): success 0 from there on; or exclude")


def check_inputs(options: argparse.Namespace) -> None:
    """Raise a UserError for an input that cannot be."""
    check_choice("policy for diverged seeds", options.diverged, ["zero", "exclude"])
    options.last = whole_number("--last", options.last)
    for place in options.runs:
        input_folder("--runs", place)
    for what in ("archive", "reversal", "claims"):
        if file := getattr(options, what, None):
            input_file(f"--{what}", file)


def results_from(options: argparse.Namespace) -> Results:
    """Read what was asked for."""
    from analysis.averaging.selection import comparable
    from analysis.reading.loading import load_runs

    results = comparable(load_runs(*options.runs), diverged=options.diverged, last=options.last)
    return results.beside_archive(options.archive) if options.archive else results
