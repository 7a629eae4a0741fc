"""The checks in their order, and one agent's way through them."""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax

from benchmark.checking.batches import check_batches
from benchmark.checking.checks import (
    check_acting,
    check_domains,
    check_gradients,
    check_interface,
    check_programs,
    check_purity,
    check_resume,
    check_shapes,
    check_speed,
)
from benchmark.checking.mistakes import check_losses, check_options, check_pairs, check_randomness
from benchmark.checking.subject import Subject
from benchmark.checking.toys import ToyRuns
from benchmark.checking.words import Fault, in_words
from benchmark.common.errors import UserError

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
"""In order; `toy`, the last, runs beside those that follow the ones that only read the agent's programs."""
CONDITIONS = ("interface", "shapes", "purity")
BEFORE_TOYS = (*CONDITIONS, "pairs", "randomness", "options", "losses")
NAMES = (*CHECKS, "toy")


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
