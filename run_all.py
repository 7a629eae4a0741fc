#!/usr/bin/env python
"""The front door: plan, launch, watch and report a whole benchmark.

python run_all.py --suite=quickstart
python run_all.py --suite=ogbench --agents rql,fql --domains cube-double-play --seeds 0-3 --dry-run
python run_all.py --suite=ogbench --launcher=slurm --partition=gpu --gpus=1 --seeds-per-process=4
python run_all.py --status --watch
python run_all.py --list
"""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmark.common.errors import run_main
from benchmark.common.options import Parser, add_keeping, folder, refuse_all_but
from benchmark.common.terminal import console
from benchmark.launching import slurm_options

OF_FOLLOWING = {"status", "watch", "cancel", "out", "suite"}
"""Options that say what is to be followed, and how."""


def parser() -> argparse.ArgumentParser:
    """The command line's options."""
    parser = Parser(prog="run_all.py", description=__doc__.split("\n")[0])
    choose = parser.add_argument_group("what to run")
    choose.add_argument("--suite", help="quickstart, ogbench, ogbench_quality, toy, ...: see --list")
    choose.add_argument("--agents", "--agent", help="names or files, separated by commas (default: the suite's)")
    choose.add_argument("--domains", help="domains, separated by commas (default: the suite's)")
    choose.add_argument("--tasks", help="tasks, separated by commas (default: the suite's)")
    choose.add_argument("--seeds", help="e.g. 0-3 or 0,2,5-7 (default: the suite's)")
    choose.add_argument(
        "--protocol", help="how long, how often evaluated: rql, rql_paper, qam, ... (default: the suite's)"
    )
    choose.add_argument("--steps", help="updates per run, instead of the protocol's")
    choose.add_argument("--eval-episodes", help="episodes per evaluation and seed, instead of the protocol's")
    choose.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="[AGENT:]NAME=VALUE",
        help="a hyperparameter of all agents, or of the one named; repeatable",
    )
    choose.add_argument("--label", metavar="NAME", help="store and show one agent's results under a name of your own")
    choose.add_argument("--online-steps", metavar="N", help="environment steps of fine-tuning after the offline phase")
    choose.add_argument("--online-start", metavar="N", help="of those, before the first update (default: 5,000)")
    choose.add_argument("--start-from", metavar="DIR", help="folder of a finished run with whose networks to begin")
    where = parser.add_argument_group("where and how")
    where.add_argument("--out", help="folder for results (default: runs/<suite>)")
    where.add_argument("--generate", metavar="N", help="train on N generated transitions instead of published data")
    where.add_argument("--data-dir", help="folder of datasets (default: $RQL_DATA_DIR or ~/.ogbench/data)")
    where.add_argument("--seeds-per-process", help="seeds that train together (default: all); auto: by measured rates")
    where.add_argument(
        "--rates",
        type=Path,
        metavar="FILE",
        help="rates of another device, from its `benchmark.throughput --json=FILE`",
    )
    where.add_argument("--launcher", help="local (default), slurm, or debug: in this process, the first error raised")
    where.add_argument("--jobs", help="processes at once (default: one per GPU, else one per four cores)")
    where.add_argument("--runs-per-process", help="short runs that a process does one after the other")
    add_keeping(where)
    where.add_argument("--anew", action="store_true", help="begin again; what the runs' folders hold is moved aside")
    where.add_argument("--run-timeout", metavar="MINUTES", help="a run that takes longer is killed, and failed")
    where.add_argument("--wandb", metavar="PROJECT", help="send a copy of the records to W&B (requirements-wandb.txt)")
    where.add_argument("--wandb-offline", action="store_true", help="keep W&B's copy in the run's folder")
    cluster = parser.add_argument_group("on Slurm", "checked before anything is submitted")
    cluster.add_argument("--slurm-config", metavar="FILE", help="YAML with the options below, e.g. 'partition: gpu'")
    slurm_options.add_flags(cluster)
    cluster.add_argument("--runs-per-job", help="runs that a job does (default: one, or as the cluster's limits want)")
    follow = parser.add_argument_group("what was launched (in --out, or in all of runs/)")
    follow.add_argument("--status", action="store_true", help="how the runs stand")
    follow.add_argument("--watch", action="store_true", help="show that until nothing is queued or running")
    follow.add_argument("--cancel", action="store_true", help="end what is queued or running")
    follow.add_argument("--retry-failed", action="store_true", help="launch failed and stopped runs again, as before")
    instead = parser.add_argument_group("instead of running")
    instead.add_argument("--list", action="store_true", help="name all agents, suites, protocols and tasks")
    instead.add_argument("--dry-run", action="store_true", help="print the plan, and what it will cost here")
    instead.add_argument(
        "--estimate", action="store_true", help="print the plan, and time the agents whose speed here is not known"
    )
    instead.add_argument("--report", action="store_true", help="only write the tables and figures of what is there")
    instead.add_argument(
        "--last", metavar="N", help="of reports: mean of the last N evaluations (default: 1, the final)"
    )
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return its exit code."""
    options = parser().parse_args(arguments)
    for name in ("out", "data_dir"):
        if value := getattr(options, name):
            folder(f"--{name.replace('_', '-')}", value)
    if not options.retry_failed and (options.status or options.cancel or (options.watch and not options.suite)):
        return follow(options)
    from benchmark.launching import front_door

    return front_door.run(options)


def follow(options: argparse.Namespace) -> int:
    """Show how runs stand, after cancelling them where that is asked; return the exit code."""
    from benchmark.launching import status

    refuse_all_but(options, OF_FOLLOWING, "does not go with --status, --watch or --cancel: they are of a whole folder")
    code = 0
    for out in status.folders(options.out, options.suite):
        if options.cancel:
            status.cancel(out, console)
        code = max(code, status.show(out, console, options.watch))
    return 0 if options.cancel else code


if __name__ == "__main__":
    run_main(main)
