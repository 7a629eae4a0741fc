"""One run: `python -m benchmark.train --agent=rql --task=... --seeds=0-3 --set alpha=10 --set expectile=0.9`.

A run trains one agent on one task, several seeds at once in one process. Started again with the same command it
continues from its last checkpoint; a finished run is not run again.
"""

from __future__ import annotations

import sys

from benchmark.common.errors import UserError, run_main
from benchmark.common.options import Parser, add_keeping
from benchmark.loop.worker import execute, serve
from benchmark.planning.missing import only_missing
from benchmark.planning.protocols import PROTOCOLS
from benchmark.planning.run import begin_anew
from benchmark.runs.run import RunSpec


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments[:1] == ["--specs"]:
        return serve(arguments[1:])
    spec, anew = parse_command(arguments)
    runs = only_missing([spec])
    if anew:
        begin_anew(runs)
    for each in runs:
        execute(each)
    return 0


def parser() -> Parser:
    """The command line's options."""
    parser = Parser(
        prog="python -m benchmark.train", description="Train and evaluate one agent on one task, several seeds at once."
    )
    parser.add_argument("--agent", help="name of an agent, or the path of a file that defines one")
    parser.add_argument("--task", help="OGBench's name, e.g. cube-double-play-singletask-task1-v0")
    parser.add_argument("--seeds", default="0", help="e.g. 0-3 or 0,2,5-7 (default: 0)")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a hyperparameter; repeatable")
    parser.add_argument("--label", metavar="NAME", help="store and show the results under this name, not the agent's")
    parser.add_argument("--protocol", default="rql", help=f"one of {', '.join(PROTOCOLS)} (default: rql)")
    parser.add_argument("--steps", help="updates, instead of the protocol's")
    parser.add_argument("--eval-episodes", help="episodes per evaluation, instead of the protocol's")
    parser.add_argument("--out", default="runs/single", help="folder for results (default: runs/single)")
    parser.add_argument("--data-dir", help="folder of datasets (default: $RQL_DATA_DIR or ~/.ogbench/data)")
    parser.add_argument("--generate", metavar="N", help="train on N generated transitions instead of published data")
    parser.add_argument("--online-steps", metavar="N", help="environment steps of fine-tuning after the offline phase")
    parser.add_argument("--online-start", metavar="N", help="of those, before the first update (default: 5,000)")
    parser.add_argument("--start-from", metavar="DIR", help="folder of a finished run with whose networks to begin")
    add_keeping(parser)
    parser.add_argument("--anew", action="store_true", help="begin again; what the run's folder holds is moved aside")
    return parser


def parse(arguments: list[str]) -> RunSpec:
    """Read a RunSpec from the command line."""
    return parse_command(arguments)[0]


def parse_command(arguments: list[str]) -> tuple[RunSpec, bool]:
    """Read from the command line a RunSpec, and whether it is to begin anew."""
    options = parser().parse_args(arguments)
    if not options.agent or not options.task:
        raise UserError("--agent and --task are needed; `python run_all.py --list` names them")
    from benchmark.planning.from_options import spec_from

    spec = spec_from(options)
    if options.start_from:
        from benchmark.loop.starting import starting_from

        (spec,) = starting_from(options.start_from, [spec])
    return spec, options.anew


if __name__ == "__main__":
    run_main(main)
