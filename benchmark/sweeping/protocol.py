"""The rules of a fair search: which task and seeds are tuned on, and one budget for all agents."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmark.common.errors import UserError
from benchmark.common.files import write_json
from benchmark.common.reading import read_json
from benchmark.common.terminal import console
from benchmark.planning.suites import SUITES
from benchmark.runs.run import RunSpec
from benchmark.runs.seeds import format_seeds
from envs.tasks import Domain, Task, default_task

TUNING_SEEDS = "1000-1001"
REPORT_SEEDS = "0-3"


def reporting_tasks(domain: Domain) -> list[Task]:
    """The tasks of a domain on which tuned agents are reported: all others, or a toy's only one."""
    if domain.single_task:
        return [default_task(domain)]
    return [task for number in range(1, 6) if (task := Task(domain, number)) != default_task(domain)]


def check_seeds(tuning: Sequence[int], report: Sequence[int]) -> None:
    """Raise a UserError where a seed would be tuned on and reported."""
    reported = set(report).union(*(suite.seeds for suite in SUITES.values()))
    both = sorted(reported & set(tuning))
    if both:
        raise UserError(
            f"seeds {format_seeds(both)} are reported, so they may not be tuned on (--seeds); "
            f"the default is {TUNING_SEEDS}"
        )


def check_budget(folder: Path, runs: Sequence[Sequence[RunSpec]], limit: int | None) -> None:
    """Fix the folder's budget, or raise a UserError where this sweep's is another. `limit`: most settings a domain."""
    first = runs[0][0]
    asked = {
        "updates": first.protocol.steps,
        "seeds": len(first.seeds),
        "episodes": first.protocol.eval_episodes,
        "evaluated_every": first.protocol.eval_every,
        "tasks_a_domain": 1,
    }
    path = folder / "budget.json"
    known = read_json(path)
    settings = len(runs[0])
    if known is None:
        write_json(path, asked | {"settings_a_domain": max(settings, limit or 0)})
        return
    wrong = [f"{name} {value}, not {known[name]}" for name, value in asked.items() if known.get(name) != value]
    if limit and limit != known["settings_a_domain"]:
        wrong.append(f"--budget {limit}, not {known['settings_a_domain']}")
    if settings > known["settings_a_domain"]:
        wrong.append(f"{settings} settings, at most {known['settings_a_domain']} are allowed")
    if wrong:
        raise UserError(
            f"this sweep has another budget than those in {folder} ({'; '.join(wrong)}); agents compare fairly at one "
            "budget: match it, or choose another --out for all of them"
        )
    if settings < known["settings_a_domain"]:
        console.print(f"note: {settings} settings of the {known['settings_a_domain']} that the budget allows are used")
