"""From a suite and what the caller chose to a list of runs."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from agents.base import Agent
from benchmark.configure import agent_class, configure, tuned
from benchmark.errors import UserError
from benchmark.suites import Online, Protocol, Suite
from benchmark.train import RunSpec
from envs.tasks import Task


def settings_for(cls: type[Agent], task: Task, *layers: Mapping[str, Any]) -> dict[str, Any]:
    """Hyperparameters of an agent on a task: the domain's protocol, then the tuned values, then `layers`."""
    domain = task.domain
    protocol = dict(chunk_length=domain.chunk_length, discount=domain.discount, pessimism=domain.pessimism)
    settings: dict[str, Any] = {**protocol, **tuned(cls.name, domain.name)}
    for layer in layers:
        settings.update(layer)
    return settings


def with_run_length(
    cls: type[Agent], settings: Mapping[str, Any], protocol: Protocol, online: Online | None
) -> dict[str, Any]:
    """Settings with, unless they set it, what is as long as the run: its updates after pretraining, both phases'."""
    updates = protocol.steps + (max(0, online.steps - online.start) if online else 0)
    return {**dict.fromkeys(cls.run_length_options, updates), **settings}


def whole_number(what: str, text: str, low: int = 1) -> int:
    """Parse a whole number of at least `low`; 1_000_000 and 1e6 are numbers too."""
    try:
        number = float(text)
        if number == int(number) and number >= low:
            return int(number)
    except (ValueError, OverflowError):
        pass
    raise UserError(f"{what} must be a whole number of at least {low}, not '{text}'")


def plan(
    suite: Suite,
    *,
    agents: Sequence[str],
    tasks: Sequence[Task],
    seeds: Sequence[int],
    protocol: Protocol,
    out: str,
    settings: Mapping[str, Any] | None = None,
    data_dir: str | None = None,
    seeds_per_process: int | Callable[[type[Agent], Mapping[str, Any], Task], int] | None = None,
    wandb: dict[str, str] | None = None,
    online: Online | None = None,
) -> list[RunSpec]:
    """List the runs of a suite: tasks x agents x groups of seeds. Raises a UserError for what cannot be done.

    `settings` are the caller's own and win over the suite's; `seeds_per_process` splits the seeds into groups that
    train together (default: all together); it may depend on the agent, its settings and the task.
    """
    runs = []
    for task in tasks:
        for agent in agents:
            cls = agent_class(agent)
            own = suite.agent_settings.get(cls.name) or cls.suite_settings.get(suite.name, {})
            chosen = settings_for(cls, task, known_settings(cls, suite.settings), own, settings or {})
            chosen = with_run_length(cls, chosen, protocol, online)
            configure(cls, chosen)
            size = seeds_per_process(cls, chosen, task) if callable(seeds_per_process) else seeds_per_process
            for group in grouped(seeds, size or len(seeds)):
                runs.append(
                    RunSpec(
                        *(agent, task.name, group, chosen, protocol, out),
                        *(suite.name, suite.data, data_dir, wandb, online),
                    )
                )
    return runs


def grouped(seeds: Sequence[int], size: int) -> list[tuple[int, ...]]:
    """The seeds in groups of that size, the last perhaps smaller."""
    return [tuple(seeds[i : i + size]) for i in range(0, len(seeds), size)]


def known_settings(cls: type[Agent], settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that an agent has; a suite's apply to many agents, and not all have all of them."""
    names = {field.name for field in dataclasses.fields(cls.Config)}
    return {name: value for name, value in settings.items() if name in names}
