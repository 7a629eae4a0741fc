"""Play trained policies again: `python -m benchmark.evaluate --policy runs/toy/rql/toy-modes/seeds-0-2/policies`.

Plays a run's policies (--run), or any policies and folders of such (--policy): at other values of what only acting
reads (`Agent.acting_options`), on other episodes, on another task of the same sizes. With --sweep all values are played
twice: on episodes that only choose one of them, by mean success over seeds, and on those that are reported, a row per
value. Rows are appended to evaluations.csv, and every episode to episodes.csv: in the run's folder, or beside each
policy. Without further options the numbers are those of training's last evaluation. A run that is not finished plays
its newest checkpoint. With --video or --clips episodes are filmed instead (docs/watching.md).
"""

from __future__ import annotations

import argparse

from benchmark.common.errors import UserError, run_main
from benchmark.common.options import MOST, MOST_EPISODES, Parser, input_folder, whole_number
from benchmark.runs.seeds import parse_seeds
from benchmark.watching.from_options import add_film_options, film_asked


def parser() -> Parser:
    """The command line's options."""
    parser = Parser(
        prog="python -m benchmark.evaluate", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--run", metavar="DIR", help="folder of a run")
    parser.add_argument("--policy", nargs="+", default=[], metavar="DIR", help="policies, or folders that hold such")
    parser.add_argument("--agent", metavar="FILE", help="of --policy: the file of an agent from outside the repository")
    parser.add_argument("--episodes", metavar="N", help="episodes of each policy (default: as many as in training)")
    parser.add_argument("--seeds", help="of evaluation, each of which gives all policies the same episodes, e.g. 0-3")
    parser.add_argument("--task", help="another task, with observations and actions of the same sizes")
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
    if bool(options.run) == bool(options.policy):
        raise UserError("give either --run, the folder of a run, or --policy, folders of policies")
    if options.run and options.agent:
        raise UserError("--agent is for --policy; a run keeps its agent's file")
    folders = [input_folder("--policy", name) for name in options.policy]
    run = options.run and input_folder("--run", options.run)
    episodes = options.episodes and whole_number("--episodes", options.episodes, high=MOST_EPISODES)
    number = options.episodes_of and whole_number("--episodes-of", options.episodes_of, low=0, high=MOST)
    seeds = parse_seeds(options.seeds) if options.seeds else ()
    if film_asked(options, [run] if run else folders, number):
        return 0
    from benchmark.loop.evaluating import evaluate_policies, evaluate_run
    from benchmark.loop.players import Asked

    asked = Asked(options.set, options.sweep, episodes, number, seeds, options.task)
    if run:
        evaluate_run(run, asked)
    else:
        evaluate_policies(folders, asked, options.agent)
    return 0


if __name__ == "__main__":
    run_main(main)
