"""Names that tables and figures share: the agents' labels in print and the order of agents and domains.

Agents are those of `agents.roster` and tasks those of `envs.tasks`; neither imports an algorithm or an environment.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from agents.roster import ROSTER
from envs.tasks import OGBENCH_DOMAINS, tasks_of

AGENT_LABELS: dict[str, str] = {name: entry.label for name, entry in ROSTER.items()}
"""Agent name to its label in print, in the order of the tables. `bc`, the floor, and the newer are not of the 20."""

ORIGINS: dict[str, str] = {"ours": "†", "derived": "‡", "default": "§"}
"""Signs of agents in tables whose hyperparameters are not published for them, by the runs' `origin`."""

_KINDS = ("antmaze", "humanoidmaze", "scene", "puzzle", "cube")
_PRINTED = sorted(OGBENCH_DOMAINS, key=lambda domain: _KINDS.index(domain.name.partition("-")[0]))

DOMAINS: tuple[str, ...] = tuple(domain.name for domain in _PRINTED)
"""The ten domains of the published tables, in their order."""

TASKS: tuple[str, ...] = tuple(task.name for task in tasks_of(*_PRINTED))
"""The fifty tasks of the published tables, in their order."""

MEASURES = ("success", "return", "length")
"""What an evaluation measures of its episodes."""

GENERATED = " (generated data)"
"""Ends the names of tasks whose data were generated here: they are other tasks than those on the published files."""


SHARED: tuple[str, ...] = (
    *("learning_rate", "discount", "target_rate", "pessimism", "chunk_length", "batch_size", "hidden", "ensemble"),
    "matmul_precision",
)
"""Hyperparameters that every agent has; an agent's own come before them."""


def label(agent: str) -> str:
    """Return the agent's label in print; an agent that is not listed is its own label."""
    base, separator, variant = agent.partition(" (")
    return AGENT_LABELS.get(base, base) + separator + variant


def domain_of(task: str) -> str:
    """Return the domain in a task's name ('cube-double-play' of 'cube-double-play-singletask-task1-v0')."""
    return task.partition("-singletask")[0]


def in_order(names: Iterable[str], known: Iterable[str]) -> list[str]:
    """Return the distinct names, those of `known` first and in its order, the others after them, sorted."""
    names, known = set(names), list(known)
    return [name for name in known if name in names] + sorted(names - set(known))


def own_first(names: Iterable[str]) -> list[str]:
    """Return the distinct agents, those that are not of the tables (one's own) first, then in the tables' order."""
    return sorted(agents_in_order(names), key=lambda name: name.partition(" (")[0] in AGENT_LABELS)


def setting_text(name: str, value: Any) -> str:
    """Write a setting, "alpha=3", "hidden=64x64": no commas, numbers at full precision, a digest's first digits."""
    if isinstance(value, list):
        return f"{name}={'x'.join(setting_text('', item)[1:] for item in value)}"
    if isinstance(value, float) and float(f"{value:g}") == value:
        return f"{name}={value:g}"
    text = str(value)
    return f"{name}={text.removeprefix('sha256:')[:8] if text.startswith('sha256:') else text.replace(',', '')}"


def agents_in_order(names: Iterable[str]) -> list[str]:
    """Return the distinct agents in the tables' order; 'rql (quickstart)' stands where 'rql' does."""
    place = {name: index for index, name in enumerate(AGENT_LABELS)}
    return sorted(set(names), key=lambda name: (place.get(name.partition(" (")[0], len(place)), name))
