"""How fast policies are evaluated here: `python -m benchmark.evaluation_speed --domains=cube-double-play --seeds=1,4`.

For each domain and number of seeds: environment steps per second of the harness's evaluation (many environments in
worker processes, one policy call for all of them) with an untrained policy of the tuned sizes, against the loop of the
public code (one environment, one policy call of batch 1 a chunk) in the same process. Episodes are cut short, and the
untrained policy solves none, so that both play the same number of steps.

Rows go to results/throughput/<device>-evaluation.json, where a row replaces the older one of its case; the plan's
estimate reads them.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from benchmark.common.errors import run_main
from benchmark.common.options import MOST_EPISODES, MOST_SECONDS, Parser, names, output_file, whole_number
from benchmark.runs.seeds import MOST_SEEDS
from envs.tasks import get_domain


def parser() -> Parser:
    """The command line's options."""
    assert __doc__ is not None
    parser = Parser(
        prog="python -m benchmark.evaluation_speed",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--agent", default="rql", help="whose policy (default: rql)")
    parser.add_argument("--domains", default="cube-double-play", help="separated by commas (cube-double-play)")
    parser.add_argument("--seeds", default="1,4", help="numbers of seeds evaluated together (default: 1,4)")
    parser.add_argument("--episodes", default="50", help="of each seed (default: 50)")
    parser.add_argument("--seconds", default="10", help="time for the public code's loop (default: 10)")
    parser.add_argument("--json", type=Path, help="file to merge the rows into (default: see above)")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    options = parser().parse_args(arguments)
    from benchmark.planning.registry import agent_class
    from benchmark.speed.episodes import measure_and_print, read_rows

    domains = [get_domain(name) for name in names("--domains", options.domains)]
    seeds = [whole_number("--seeds", text, high=MOST_SEEDS) for text in names("--seeds", options.seeds)]
    agent_class(options.agent)
    counts = (
        whole_number("--episodes", options.episodes, high=MOST_EPISODES),
        whole_number("--seconds", options.seconds, high=MOST_SECONDS),
    )
    if options.json:
        read_rows(output_file("--json", options.json))
    measure_and_print(options.agent, domains, seeds, *counts, options.json)
    return 0


if __name__ == "__main__":
    run_main(main)
