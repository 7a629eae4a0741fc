"""The checks in their order, and one agent's way through them."""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
from rich.markup import escape
from rich.table import Table as Grid

from benchmark.checking.batches import check_batches
from benchmark.checking.checks import (
    check_acting,
    check_domains,
    check_programs,
    check_purity,
    check_resume,
    check_speed,
)
from benchmark.checking.gradients import check_gradients
from benchmark.checking.interface import check_interface, check_shapes
from benchmark.checking.mistakes import check_losses, check_options, check_pairs, check_randomness
from benchmark.checking.names import NAMES
from benchmark.checking.subject import Subject, compiled
from benchmark.checking.toys import ToyRuns
from benchmark.checking.words import Fault, in_words
from benchmark.common.errors import UserError, printable
from benchmark.common.terminal import console, console_for
from benchmark.planning.configure import configure, parse_settings
from benchmark.planning.registry import agent_class, agent_names

CHECKS: dict[str, Callable[[Subject], str]] = {
    "interface": check_interface,
    "shapes": check_shapes,
    "purity": check_purity,
    "batches": check_batches,
    "pairs": check_pairs,
    "randomness": check_randomness,
    "options": check_options,
    "losses": check_losses,
    "programs": check_programs,
    "resume": check_resume,
    "acting": check_acting,
    "domains": check_domains,
    "gradients": check_gradients,
    "speed": check_speed,
}
"""Those of `NAMES`, but for the last: `toy` is another process."""
CONDITIONS = ("interface", "shapes", "purity")
BEFORE_TOYS = (*CONDITIONS, "pairs", "randomness", "options", "losses")


@dataclasses.dataclass(frozen=True)
class Finding:
    """What a check found."""

    check: str
    passed: bool
    text: str
    seconds: float


def examine(
    name: str,
    settings: Mapping[str, Any] | None = None,
    checks: Sequence[str] = NAMES,
    report: Callable[[Finding], None] = lambda finding: None,
) -> list[Finding]:
    """Run checks on an agent, by name or path; `report` is told each finding as it comes. Ends early where a condition
    of the others fails.
    """
    findings: list[Finding] = []

    def run(check: str, work: Callable[[], str], file: str | None = None) -> bool:
        started = time.perf_counter()
        try:
            passed, text = True, work()
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # also where an agent calls sys.exit
            passed, text = False, in_words(error, file)
        findings.append(Finding(check, passed, text, time.perf_counter() - started))
        report(findings[-1])
        return passed

    try:
        subject = Subject(name, settings)
    except UserError as error:
        if not name.endswith(".py") or not Path(name).is_file():
            raise
        reason = str(error)

        def refuse() -> str:
            raise Fault(reason)

        run("interface", refuse)
        return findings
    toys = None
    try:
        for check in (check for check in CHECKS if check in checks):
            if check not in BEFORE_TOYS and "toy" in checks and toys is None:
                toys = ToyRuns(subject)
            if check == "speed" and toys:  # nothing may run beside it
                toys.process.wait()
            light = jax.config.read("jax_disable_most_optimizations")
            jax.config.update("jax_disable_most_optimizations", light or check != "speed")
            try:
                passed = run(check, functools.partial(CHECKS[check], subject), subject.file)
            finally:
                jax.config.update("jax_disable_most_optimizations", light)
            if check in CONDITIONS and not passed:
                return findings
        if "toy" in checks:
            toys = toys or ToyRuns(subject)
            run("toy", toys.result)
        return findings
    finally:
        if toys:
            toys.close()


def examine_all(agents: Sequence[str], settings: Sequence[str], checks: Sequence[str] = NAMES) -> int:
    """Examine agents, by names and paths (or "all"), with settings such as "alpha=10", and print what is found.

    Returns 1 where a check fails, else 0. Raises a UserError, before any is run, for what is not known.
    """
    chosen, names = parse_settings(settings), agent_names() if list(agents) == ["all"] else agents
    for name in names:
        if chosen or not name.endswith(".py"):
            configure(agent_class(name), chosen)
    failed = []
    for name in names:
        if not examine_and_print(name, chosen, checks):
            failed.append(name)
        jax.clear_caches()  # some hundred programs an agent: a process can hold only so many
        compiled.cache_clear()
    if len(names) > 1:
        console.print(
            f"{len(names) - len(failed)} of {len(names)} agents pass" + (f"; not {', '.join(failed)}" if failed else "")
        )
    return 1 if failed else 0


def examine_and_print(name: str, settings: Mapping[str, Any], checks: Sequence[str]) -> bool:
    """Examine one agent, print a line for each finding as it comes, and return whether all passed."""
    console = console_for(markup=True)
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
