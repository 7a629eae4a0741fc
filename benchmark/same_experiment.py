"""The authors' own code on a run of ours: `python -m benchmark.same_experiment --run runs/small/rql/.../seeds-0-3 ...`.

Their main.py makes the same experiment (task, data file, hyperparameters, updates, evaluations, seeds), and what it
gives stands beside ours as "<agent>-authors" in every table and figure of `--out` and the run's own folder:

    python -m benchmark.same_experiment --run RUN --authors ../rql ../qam --authors-python PYTHON --out runs/authors
    python -m analysis.figures --runs RUN runs/authors --out figures

Given again after an interruption, seeds that were finished are not made again.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from benchmark.common.errors import UserError, run_main
from benchmark.common.options import MOST_JOBS, Parser, folder, input_file, input_folder, whole_number
from benchmark.common.terminal import console


def parser() -> Parser:
    """The command line's options."""
    parser = Parser(
        prog="python -m benchmark.same_experiment",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--run", required=True, help="folder of a finished run of ours")
    parser.add_argument("--authors", nargs="+", required=True, metavar="DIR", help="checkouts of the authors' code")
    parser.add_argument("--authors-python", type=Path, required=True, help="a Python that has their requirements")
    parser.add_argument("--data", metavar="FILE", help="its dataset, where the run's records do not say where that is")
    parser.add_argument("--out", default="runs/authors", help="folder for their results (default: runs/authors)")
    parser.add_argument("--jobs", default="1", help="seeds that train at once (default: 1)")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    options = parser().parse_args(arguments)
    run, out = input_folder("--run", options.run), folder("--out", options.out)
    checkouts = [input_folder("--authors", name) for name in options.authors]
    data = input_file("--data", options.data) if options.data else None
    jobs = whole_number("--jobs", options.jobs, high=MOST_JOBS)
    from benchmark.checking.same_experiment import experiment_of, train_authors
    from benchmark.speed.from_options import program

    python = program(options.authors_python)
    experiment = experiment_of(run, checkouts, data)
    if out.resolve() in Path(run).resolve().parents:
        raise UserError("--out must be another folder than that of our runs")
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        bar = progress.add_task(f"{experiment.label}: evaluations", total=None)
        made = train_authors(
            experiment, python, out, jobs, lambda done, total: progress.update(bar, completed=done, total=total)
        )
    print(f"{made}: beside ours with python -m analysis.tables --runs {run} {made}")
    return 0


if __name__ == "__main__":
    run_main(main)
