"""Train a policy that walks in a direction, with which datasets of mazes are made, as OGBench trained its own.

    python -m envs.train_expert --body=ant

SAC in OGBench's environments `ogbench.online_locomotion`, by its published recipe (`envs.experts.bodies`). The ant's
takes an hour of a core; the humanoid's, of 40M steps, takes weeks. The folder is a run's: config.json, provenance.json,
train.csv, eval.csv; the same command goes on with a training that was stopped or killed.
"""

from __future__ import annotations

import signal
import sys
from pathlib import Path

from benchmark.common.errors import Stopped, UserError, run_main
from benchmark.common.options import MOST, Parser, folder, whole_number
from benchmark.common.terminal import console_for, progress_bar
from envs.experts.bodies import BODIES, find_body


def parser() -> Parser:
    """The command line's options."""
    parser = Parser(prog="python -m envs.train_expert", description="Train a policy that walks in a direction.")
    parser.add_argument("--body", required=True, help=f"one of {', '.join(BODIES)}")
    parser.add_argument("--seed", default="0")
    parser.add_argument("--steps", help="environment steps (default: as published)")
    parser.add_argument("--out", help="folder (default: runs/experts/BODY)")
    return parser


def main(arguments: list[str] | None = None) -> None:
    """Run the command line."""
    args = parser().parse_args(arguments)
    body = find_body(args.body)
    seed = whole_number("--seed", args.seed, 0)
    steps = body.steps if args.steps is None else whole_number("--steps", args.steps, 1, MOST)
    out = folder("--out", args.out or Path("runs") / "experts" / args.body)

    import jax

    from envs.experts.training import train

    # A step waits for its update: a second thread gains nothing, and is woken twice a step, late on a busy machine.
    jax.config.update("jax_cpu_enable_async_dispatch", False)
    signals: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda received, frame: signals.append(received))
    with progress_bar(console_for(stderr=True)) as bar:
        task = bar.add_task(f"training the {args.body}", total=steps)

        def say(step: int, news: str) -> None:
            bar.update(task, completed=step)
            if news:
                left = bar.tasks[0].time_remaining
                remaining = "" if left is None or bar.finished else f", {left / 60:.0f} min left"
                print(f"step {step:,} of {steps:,}: {news}{remaining}", file=sys.stderr, flush=True)

        try:
            train(args.body, out, seed, steps, say, lambda: bool(signals))
        except Stopped as stopped:
            raise UserError(str(stopped)) from stopped
    print(out)


if __name__ == "__main__":
    run_main(main)
