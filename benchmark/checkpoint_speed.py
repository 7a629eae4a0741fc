"""How long training waits for checkpoints here: `python -m benchmark.checkpoint_speed --agent=rql --seeds=4,12`.

For each number of seeds, at the tuned sizes of a domain: the seconds that a checkpoint takes where training waits until
it is written, those that it waits where a thread writes it from a copy, the copy from device to host apart, and how
much longer an update takes while it is written. Shares are of training with a checkpoint every so many updates.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from benchmark.common.errors import run_main
from benchmark.common.options import Parser, folder, names, whole_number
from benchmark.runs.seeds import MOST_SEEDS
from envs.tasks import get_domain


def parser() -> Parser:
    """The command line's options."""
    assert __doc__ is not None
    parser = Parser(
        prog="python -m benchmark.checkpoint_speed",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--agent", default="rql", help="whose checkpoints (default: rql)")
    parser.add_argument("--domain", default="cube-double-play", help="whose settings and sizes (cube-double-play)")
    parser.add_argument("--seeds", default="1,4", help="numbers of seeds trained together (default: 1,4)")
    parser.add_argument("--steps", default="50_000", help="updates from one checkpoint to the next (default: 50,000)")
    parser.add_argument("--out", default="runs", help="a folder on the file system that is written to (default: runs)")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    options = parser().parse_args(arguments)
    from benchmark.planning.registry import agent_class
    from benchmark.speed.checkpoints import measure_and_print

    domain, out = get_domain(options.domain), folder("--out", options.out)
    seeds = [whole_number("--seeds", text, high=MOST_SEEDS) for text in names("--seeds", options.seeds)]
    steps = whole_number("--steps", options.steps)
    agent_class(options.agent)
    measure_and_print(options.agent, domain, seeds, steps, out)
    return 0


if __name__ == "__main__":
    run_main(main)
