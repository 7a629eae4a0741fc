"""A whole experiment by our command and by the authors', from start to end: `python -m benchmark.end_to_end ...`

    python -m benchmark.end_to_end --authors ../rql --authors-python ../venv/bin/python --seeds=0-3

Both make the same experiment (a suite's first task, data file, hyperparameters, updates, evaluations, seeds), one after
the other, each in the ways of --at-once: so many processes side by side, ours with seeds and cores divided among
them. Ours is `run_all.py` with its tables and report and no program in the cache; theirs is main.py, a process a seed,
as their commands start it. Printed, and in end_to_end.json of --out: wall time of each, success at the end.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmark.common.errors import UserError, check_choice, run_main
from benchmark.common.options import MOST_JOBS, Parser, folder, input_folder, names, whole_number
from benchmark.runs.seeds import parse_seeds


def parser() -> Parser:
    """The command line's options."""
    assert __doc__ is not None
    parser = Parser(
        prog="python -m benchmark.end_to_end",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--authors", type=Path, nargs="+", required=True, metavar="DIR", help="checkouts of their code")
    parser.add_argument("--authors-python", type=Path, default=Path(sys.executable), help="a Python that has its needs")
    parser.add_argument("--suite", default="quickstart", help="whose first task and sizes (default: quickstart)")
    parser.add_argument("--agent", default="rql", help="which of the algorithms of their code (default: rql)")
    parser.add_argument("--seeds", default="0-3", help="of the experiment (default: 0-3)")
    parser.add_argument("--steps", help="updates per run, instead of the protocol's")
    parser.add_argument("--eval-episodes", help="episodes per evaluation and seed, instead of the protocol's")
    parser.add_argument("--at-once", default="1", help="processes side by side, in turn, e.g. 1,2 (default: 1)")
    parser.add_argument("--out", default="runs/end_to_end", help="a new folder (default: runs/end_to_end)")
    parser.set_defaults(protocol=None)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    options = parser().parse_args(arguments)
    from benchmark.checking.end_to_end import compare
    from benchmark.planning.from_options import protocol_from
    from benchmark.planning.suites import SUITES
    from benchmark.speed.authors import MODULES, checkout_of
    from benchmark.speed.from_options import program

    out = folder("--out", options.out)
    if out.exists() and any(out.iterdir()):
        raise UserError(f"--out: {out} is not empty, and what is there would be taken for part of this comparison")
    suite = SUITES[check_choice("suite", options.suite, SUITES)]
    agent = check_choice("agent of the authors' code", options.agent, MODULES)
    protocol = protocol_from(options, suite.protocol, agent)
    if not protocol.evaluations:
        raise UserError(f"--suite: '{suite.name}' evaluates nothing, and both sides' numbers come from evaluations")
    counts = [whole_number("--at-once", text, high=MOST_JOBS) for text in names("--at-once", options.at_once)]
    at_once = list(dict.fromkeys(counts))
    seeds, python = parse_seeds(options.seeds), program(options.authors_python)
    checkouts = [input_folder("--authors", place) for place in options.authors]
    if checkout_of(agent, checkouts) is None:
        raise UserError(f"--authors: no code of {agent} in {', '.join(map(str, checkouts))}")
    compare(suite, agent, seeds, protocol, at_once, checkouts, python, out)
    return 0


if __name__ == "__main__":
    run_main(main)
