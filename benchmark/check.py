"""Is an agent ready for the benchmark? `python -m benchmark.check path/to/my_agent.py` says, in two minutes on a CPU.

Each check prints a line: what was found, or in plain words what is wrong and where. The first three (interface, shapes,
purity) are conditions of the others; where one of them fails, the rest is not run. The exit code is 1 if any fails.

Correctness is checked with small networks and the hyperparameters that the agent would have on each domain; speed at
the quickstart's sizes, beside FQL; learning on the toy suite, beside behaviour cloning, in a process of its own
meanwhile. An agent in a file of its own says in `suite_settings = {"toy": {...}}` which hyperparameters it wants on the
toy tasks, whose rewards are small (a good action is worth about 1 more than a bad one there).
"""

from __future__ import annotations

from benchmark.checking.names import LESSONS, NAMES
from benchmark.common.errors import check_choice, run_main
from benchmark.common.options import Parser, names


def parser() -> Parser:
    """The command line's options."""
    parser = Parser(
        prog="python -m benchmark.check",
        description="Check an agent: interface, numbers, speed, and whether it learns; within two minutes on a CPU.",
        epilog=f"The last check trains on two toy tasks beside cloning. {'. '.join(LESSONS.values())}.",
    )
    parser.add_argument(
        "agents", nargs="+", metavar="AGENT", help="path of a file that defines an agent, or a name, or all"
    )
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a hyperparameter; repeatable")
    parser.add_argument("--only", help=f"checks, separated by commas: {', '.join(NAMES)} (default: all)")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns 1 where a check fails."""
    options = parser().parse_args(arguments)
    checks: tuple[str, ...] = NAMES
    if options.only:
        checks = tuple(check_choice("check", name, NAMES) for name in names("--only", options.only))
    agents = names("AGENT", ",".join(options.agents))
    from benchmark.checking.examination import examine_all

    return examine_all(agents, options.set, checks)


if __name__ == "__main__":
    run_main(main)
