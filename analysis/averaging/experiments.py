"""Experiments of one agent on one task that are not the same: which they are, and the names that tell them apart."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import pandas as pd

from analysis.names import setting_text
from analysis.regimes import environment_of


def listed(names: Iterable[Any], most: int = 3) -> str:
    """Write how many there are and the first few."""
    names = [str(name) for name in names]
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return f"{len(names)} ({', '.join(names[:most])}{more})"


def kind_of(row: Any) -> str:
    """What makes two runs of one agent on one task the same experiment, as text."""
    kind = [row.hyperparameters, row.protocol, row.fingerprint, row.mujoco, environment_of(row), row.label, row.files]
    kind.append(row.start)
    return json.dumps(kind, sort_keys=True)


def _settings(row: Any) -> dict[str, Any]:
    """Everything in which experiments of one agent on one task may differ, by name."""
    world = {"dataset": row.fingerprint, "MuJoCo": row.mujoco, "environment": environment_of(row) or "unknown"}
    world["start"] = row.start or "none"
    files = {f"the file {name}": digest for name, digest in row.files.items()}
    return {**row.hyperparameters, **row.protocol, **files, **world}


def named_experiments(usable: pd.DataFrame, data: pd.DataFrame, policy: str, notes: list[str]) -> pd.DataFrame:
    """Give each of several experiments of an agent on a task its own name, or say that they are pooled."""
    variants: dict[tuple[str, str], dict[str, dict[str, list[Any]]]] = {}
    for row in usable.itertuples():
        kinds = variants.setdefault((row.agent, row.label), {}).setdefault(row.task, {})
        kinds.setdefault(kind_of(row), []).append(row)
    names: dict[str, str] = {}
    for (agent, label), tasks in variants.items():
        named = f"{agent} ({label})" if label else agent
        names |= {row.run: named for kinds in tasks.values() for rows in kinds.values() for row in rows}
        mixed = {task: list(kinds.values()) for task, kinds in tasks.items() if len(kinds) > 1}
        if not mixed:
            continue
        differing = list(dict.fromkeys(name for kinds in mixed.values() for name in _differing(kinds)))
        what, where = ", ".join(differing), listed(mixed)
        if policy == "pool":
            notes.append(f"{named}: different experiments (they differ in {what}) are averaged, tasks: {where}.")
            continue
        by_suite = all(
            len({row.suite for row in rows}) == 1 for kinds in tasks.values() for rows in kinds.values()
        ) and all(len({rows[0].suite for rows in kinds}) == len(kinds) for kinds in mixed.values())
        shown = _telling(differing, mixed.values())
        told = {_told_apart(rows[0], shown) for kinds in mixed.values() for rows in kinds}
        for task, kinds in tasks.items():
            for row in (row for rows in kinds.values() for row in rows):
                by = (row.suite or "single run") if by_suite else _told_apart(row, shown)
                # Where a task has one experiment only, it has that name of another task's that it shares.
                if by_suite or task in mixed or by in told:
                    names[row.run] = f"{agent} ({f'{label} {by}'.strip()})"
        notes.append(f"{named}: different experiments (they differ in {what}) are kept apart, tasks: {where}.")
    return data.assign(agent=data["run"].map(names).astype(object))


def _differing(kinds: list[list[Any]]) -> list[str]:
    """Names of the settings in which experiments differ."""
    flat = [_settings(rows[0]) for rows in kinds]
    every = dict.fromkeys(name for settings in flat for name in settings)
    return [name for name in every if any(s.get(name) != flat[0].get(name) for s in flat)]


def _telling(differing: list[str], mixed: Iterable[list[list[Any]]]) -> list[str]:
    """Which of the names in which experiments differ stand in their names: two at most, or as few as tell them apart.

    Hyperparameters come first in the list and go last: a protocol's intervals follow its length.
    """
    groups = [[rows[0] for rows in kinds] for kinds in mixed]
    shown = list(differing)
    for name in reversed(differing):
        fewer = [one for one in shown if one != name]
        if len(shown) > 2 and all(len({_told_apart(row, fewer) for row in rows}) == len(rows) for rows in groups):
            shown = fewer
    return shown


def _told_apart(row: Any, names: Iterable[str]) -> str:
    """Some settings of a run as text, "alpha=3 hidden=64x64": without commas, which separate agents in options."""
    settings = _settings(row)
    return " ".join(setting_text(name, settings.get(name)) for name in names)
