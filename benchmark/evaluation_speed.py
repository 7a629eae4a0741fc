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

from benchmark.common.errors import run_main
from benchmark.common.options import MOST_EPISODES, Parser, names, whole_number
from benchmark.speed.evaluation import evaluation_path, measure
from benchmark.speed.throughput import MOST_SECONDS
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
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    from rich.console import Console
    from rich.table import Table

    from benchmark.planning.registry import agent_class
    from benchmark.runs.seeds import MOST_SEEDS

    options = parser().parse_args(arguments)
    domains = [get_domain(name) for name in names("--domains", options.domains)]
    seeds = [whole_number("--seeds", text, high=MOST_SEEDS) for text in names("--seeds", options.seeds)]
    agent_class(options.agent)
    counts = (
        whole_number("--episodes", options.episodes, high=MOST_EPISODES),
        whole_number("--seconds", options.seconds, high=MOST_SECONDS),
    )
    console = Console(highlight=False, markup=False)
    rows = measure(options.agent, domains, seeds, *counts, console.print)
    table = Table("domain", "seeds", "environments", "steps/s", "public loop", "speed-up", "ready after s")
    for row in rows:
        numbers = (f"{row[name]:,.0f}" for name in ("steps_per_second", "public_loop_steps_per_second"))
        rest = (f"{row['speedup']:.2f}", f"{row['ready_seconds']:.1f}")
        table.add_row(row["domain"], str(row["seeds"]), str(row["environments"]), *numbers, *rest)
    console.print(table)
    console.print(f"written to {evaluation_path()}")
    return 0


if __name__ == "__main__":
    run_main(main)
