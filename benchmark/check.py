"""Is an agent ready for the benchmark? `python -m benchmark.check path/to/my_agent.py` says, in two minutes on a CPU.

Each check prints a line: what was found, or in plain words what is wrong and where. The first three (interface, shapes,
purity) are conditions of the others; where one of them fails, the rest is not run. The exit code is 1 if any fails.

Correctness is checked with small networks and the hyperparameters that the agent would have on each domain; speed at
the quickstart's sizes, beside FQL; learning on the toy suite, beside behaviour cloning, in a process of its own
meanwhile. An agent in a file of its own says in `suite_settings = {"toy": {...}}` which hyperparameters it wants on the
toy tasks, whose rewards are small (a good action is worth about 1 more than a bad one there).
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

import jax
from rich.console import Console
from rich.markup import escape
from rich.table import Table as Grid

from benchmark.checking.examination import CHECKS, NAMES, Finding, examine
from benchmark.checking.subject import compiled
from benchmark.checking.toys import LESSONS
from benchmark.common.errors import check_choice, printable, run_main
from benchmark.common.options import Parser
from benchmark.common.options import names as names_in
from benchmark.planning.configure import configure, parse_settings
from benchmark.planning.registry import agent_class, agent_names

__all__ = ["CHECKS", "examine", "main"]


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
    checks = NAMES
    if options.only:
        checks = tuple(check_choice("check", name, NAMES) for name in names_in("--only", options.only))
    names = agent_names() if options.agents == ["all"] else names_in("AGENT", ",".join(options.agents))
    settings = parse_settings(options.set)
    for name in names:
        if settings or not name.endswith(".py"):
            configure(agent_class(name), settings)
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 120)
    failed = []
    for name in names:
        if not examine_and_print(name, settings, checks, console):
            failed.append(name)
        jax.clear_caches()  # some hundred programs an agent: a process can hold only so many
        compiled.cache_clear()
    if len(names) > 1:
        console.print(
            f"{len(names) - len(failed)} of {len(names)} agents pass"
            + (f"; not {escape(', '.join(failed))}" if failed else "")
        )
    return 1 if failed else 0


def examine_and_print(name: str, settings: Mapping[str, Any], checks: Sequence[str], console: Console) -> bool:
    """Examine one agent, print a line for each finding as it comes, and return whether all passed."""
    console.print(f"[bold]{escape(name)}[/bold]")
    started = time.perf_counter()

    def show(finding: Finding) -> None:
        grid = Grid.grid(padding=(0, 1))
        for width in (6, 9, 7):
            grid.add_column(width=width, justify="right" if width == 7 else "left")
        grid.add_column()
        verdict = "[green]ok[/green]" if finding.passed else "[bold red]FAILED[/bold red]"
        grid.add_row(verdict, finding.check, f"{finding.seconds:.1f} s", escape(printable(finding.text)))
        console.print(grid)

    findings = examine(name, settings, checks, show)
    bad = [finding.check for finding in findings if not finding.passed]
    skipped = [check for check in checks if check not in {finding.check for finding in findings}]
    verdict = f"{len(bad)} failed: {', '.join(bad)}" if bad else "all passed"
    later = f"; not run before that is mended: {', '.join(skipped)}" if skipped else ""
    console.print(f"{len(findings)} checks in {time.perf_counter() - started:.0f} s, {verdict}{later}")
    return not bad


if __name__ == "__main__":
    run_main(main)
