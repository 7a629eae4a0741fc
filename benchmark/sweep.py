"""Tune an agent fairly: `python -m benchmark.sweep --agent rql --domains scene-play --sweep alpha=0.1,1,10`.

All settings of numeric hyperparameters and all seeds train together as one batched axis of one compiled program. Every
setting leaves a run directory of its own, as if it had been run alone; a sweep that is stopped goes on when the same
command is given again.

The protocol of a fair comparison, which this command follows and enforces:

1. Tuning is on one task of each domain, OGBench's default (task 1 of the mazes, 2 of cube and scene, 4 of the puzzles).
2. Tuning has seeds of its own (1000 and 1001), none that any suite reports.
3. All agents tuned into one folder have the same budget, which the first fixes: updates, seeds, episodes, tasks a
   domain, and the most settings a domain. Hyperparameters given with --set are not searched, and are for all domains.
4. The setting with the highest mean success at the last evaluation wins; on a tie the higher mean over all
   evaluations, then the earlier in the order given.
5. Results are reported with fresh seeds on the other tasks of the domain (`--report`), the tuning task left out. A toy
   has only one task, which is reported with fresh seeds.

In the folder (default runs/sweep): tuning/<setting>/<agent>/<task>/ the runs; tuned/<agent>.yaml the best setting of
each domain, in the form of benchmark/planning/tuned/ (beside an agent's own file it is read from there); tables and
heat maps in tuned/; report/ the reported runs, to be read like those of any suite.
"""

from __future__ import annotations

import argparse

from benchmark.common.errors import run_main
from benchmark.common.options import Parser
from benchmark.planning.protocols import PROTOCOLS
from benchmark.sweeping.protocol import REPORT_SEEDS, TUNING_SEEDS


def parser() -> Parser:
    """The command line's options."""
    assert __doc__ is not None
    parser = Parser(
        prog="python -m benchmark.sweep", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--agent", help="name of an agent, or the path of a file that defines one")
    parser.add_argument(
        "--sweep",
        action="append",
        default=[],
        metavar="NAME=VALUES",
        help="a numeric hyperparameter and its values, separated by commas; repeatable, all combinations are tried",
    )
    parser.add_argument("--domains", help="domains, separated by commas (default: the suite's)")
    parser.add_argument("--suite", default="ogbench", help="whose protocol, data and settings (default: ogbench)")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a hyperparameter; repeatable")
    parser.add_argument("--seeds", default=TUNING_SEEDS, help=f"to tune on (default: {TUNING_SEEDS})")
    parser.add_argument("--report-seeds", default=REPORT_SEEDS, help=f"to report (default: {REPORT_SEEDS})")
    parser.add_argument("--protocol", help=f"one of {', '.join(PROTOCOLS)} (default: the suite's)")
    parser.add_argument("--steps", help="updates per run, instead of the protocol's")
    parser.add_argument("--eval-episodes", help="episodes per evaluation and seed, instead of the protocol's")
    parser.add_argument("--budget", help="most settings a domain, for all agents of the folder (default: the first's)")
    parser.add_argument("--out", default="runs/sweep", help="folder for results (default: runs/sweep)")
    parser.add_argument("--data-dir", help="folder of datasets (default: $RQL_DATA_DIR or ~/.ogbench/data)")
    parser.add_argument("--generate", metavar="N", help="train on N generated transitions instead of published data")
    parser.add_argument("--dry-run", action="store_true", help="print what would run")
    parser.add_argument("--anew", action="store_true", help="begin again; what the runs' folders hold is moved aside")
    parser.add_argument("--report", action="store_true", help="train what was tuned, on the tasks and seeds to report")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns its exit code."""
    options = parser().parse_args(arguments)
    from benchmark.sweeping.search import search  # with all that loads JAX, which --help does not need

    return search(options)


if __name__ == "__main__":
    run_main(main)
