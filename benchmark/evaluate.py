"""Other values of what only acting reads: `python -m benchmark.evaluate --run DIR --sweep guidance_weight=0,0.5,1`.

Plays the policies of a run's newest checkpoint, at values of those hyperparameters that learning does not see
(`Agent.acting_options`). With --sweep all values are played twice: on episodes that only choose one of them, by mean
success over seeds, and on those that are reported, a row per value. All rows are appended to evaluations.csv in the
run's folder. Without either option the numbers are those of training's last evaluation. With --video or --clips
episodes are filmed instead (docs/watching.md).
"""

from __future__ import annotations

import argparse

from benchmark.common.errors import run_main
from benchmark.common.options import MOST, MOST_EPISODES, Parser, input_folder, whole_number
from benchmark.watching.from_options import add_film_options, film_asked


def parser() -> Parser:
    """The command line's options."""
    parser = Parser(
        prog="python -m benchmark.evaluate", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--run", required=True, metavar="DIR", help="folder of a run that has a checkpoint")
    parser.add_argument("--episodes", metavar="N", help="episodes of each seed (default: the run's protocol's)")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a value to act with")
    parser.add_argument(
        "--sweep", action="append", default=[], metavar="NAME=A,B", help="values; of several names, the product"
    )
    parser.add_argument(
        "--episodes-of", metavar="STEP", help="report on the episodes of this step (default: of the last evaluation)"
    )
    add_film_options(parser)
    return parser


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    options = parser().parse_args(arguments)
    run = input_folder("--run", options.run)
    episodes = options.episodes and whole_number("--episodes", options.episodes, high=MOST_EPISODES)
    number = options.episodes_of and whole_number("--episodes-of", options.episodes_of, low=0, high=MOST)
    if film_asked(options, run, number):
        return 0
    from benchmark.loop.evaluating import evaluate

    evaluate(run, options.set, options.sweep, episodes, number)
    return 0


if __name__ == "__main__":
    run_main(main)
