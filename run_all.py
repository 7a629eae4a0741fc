#!/usr/bin/env python
"""The front door: plan, launch, watch and report a whole benchmark.

python run_all.py --suite=quickstart
python run_all.py --suite=ogbench --agents rql,fql --domains cube-double-play --seeds 0-3 --dry-run
python run_all.py --list
"""

from __future__ import annotations

import argparse

from benchmark.errors import run_main


def parser() -> argparse.ArgumentParser:
    """The command line's options."""
    parser = argparse.ArgumentParser(prog="run_all.py", description=__doc__.split("\n")[0])
    choose = parser.add_argument_group("what to run")
    choose.add_argument("--suite", help="quickstart, ogbench, ogbench_quality, toy, ...: see --list")
    choose.add_argument("--agents", "--agent", help="names or files, separated by commas (default: the suite's)")
    choose.add_argument("--domains", help="domains, separated by commas (default: the suite's)")
    choose.add_argument("--tasks", help="tasks, separated by commas (default: the suite's)")
    choose.add_argument("--seeds", help="e.g. 0-3 or 0,2,5-7 (default: the suite's)")
    choose.add_argument("--protocol", help="how long and how often evaluated: rql, qam, ... (default: the suite's)")
    choose.add_argument("--steps", help="updates per run, instead of the protocol's")
    choose.add_argument("--eval-episodes", help="episodes per evaluation and seed, instead of the protocol's")
    choose.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="a hyperparameter of all agents; repeatable"
    )
    where = parser.add_argument_group("where and how")
    where.add_argument("--out", help="folder for results (default: runs/<suite>)")
    where.add_argument("--data-dir", help="folder of datasets (default: $RQL_DATA_DIR or ~/.ogbench/data)")
    where.add_argument("--seeds-per-process", help="seeds that train together (default: all)")
    instead = parser.add_argument_group("instead of running")
    instead.add_argument("--list", action="store_true", help="name all agents, suites, protocols and tasks")
    instead.add_argument("--dry-run", action="store_true", help="print the plan, and what it will cost here")
    instead.add_argument(
        "--estimate", action="store_true", help="print the plan, and time the agents whose speed here is not known"
    )
    instead.add_argument("--report", action="store_true", help="only write the tables and figures of what is there")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return its exit code."""
    options = parser().parse_args(arguments)
    from benchmark import front_door  # here, so that --help need not wait for it

    return front_door.run(options)


if __name__ == "__main__":
    run_main(main)
