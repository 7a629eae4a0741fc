"""Averages stand side by side only where they are over the same tasks: the sets of tasks that there are, by name."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass

import pandas as pd

from analysis import published
from analysis.names import DOMAINS, GENERATED, TASKS, domain_of, in_order

_NUMBERED = re.compile(r"(.+)-singletask-task(\d+)-v0")


@dataclass(frozen=True)
class TaskSet:
    """A set of tasks over which rows are averaged."""

    tasks: frozenset[str]
    name: str
    domain: str
    """The domain of all of them; "" where they are of several."""


def tasks_of(frame: pd.DataFrame) -> dict[str, frozenset[str]]:
    """The tasks of each agent in a frame of scores or evaluations."""
    return {str(agent): frozenset(tasks) for agent, tasks in frame.groupby("agent")["task"]}


def shared_sets(rows: Iterable[Collection[str]]) -> list[frozenset[str]]:
    """Sets of tasks to average over, the one with most figures first (its tasks times the rows that have all of them).

    Args:
        rows: the tasks of each row. A set is all that some row has, or what all rows have in common.
    """
    have = [frozenset(row) for row in rows if row]
    candidates = {*have, *([frozenset.intersection(*have)] if have else [])} - {frozenset()}
    figures = {tasks: len(tasks) * sum(tasks <= row for row in have) for tasks in candidates}
    return sorted(candidates, key=lambda tasks: (-figures[tasks], sorted(tasks)))


def over(frame: pd.DataFrame, tasks: Collection[str]) -> pd.DataFrame:
    """The rows on these tasks of those agents that have all of them."""
    whole = [agent for agent, have in tasks_of(frame).items() if have >= set(tasks)]
    return frame[frame["agent"].isin(whole) & frame["task"].isin(tasks)]


def shared(frame: pd.DataFrame, by: str = "") -> pd.DataFrame:
    """The rows over the one set of tasks that has most figures, or over that of each group of a column `by`."""
    if by and len(frame):
        return pd.concat([shared(rows) for _, rows in frame.groupby(by)])
    sets = shared_sets(tasks_of(frame).values())
    return over(frame, sets[0]) if sets else frame


def table_columns(scores: pd.DataFrame | None, with_published: bool) -> list[TaskSet]:
    """The columns of a table of averages: sets within each domain, then sets over several domains, three of each and in
    any case a whole domain, and all fifty tasks, where a row has these.

    Args:
        scores: one's own (`Results.scores`), or None.
        with_published: whether the published rows, which have all fifty tasks, are in the table.
    """
    rows: list[Collection[str]] = list(tasks_of(scores).values()) if scores is not None else []
    rows += [TASKS] * (published.by_domain()["agent"].nunique() if with_published else 0)
    domains = in_order({domain_of(task) for row in rows for task in row}, DOMAINS)
    within = [(d, tasks) for d in domains for tasks in _most(shared_sets([_of_domain(row, d) for row in rows]), d)]
    several = [tasks for tasks in shared_sets(rows) if len({domain_of(task) for task in tasks}) > 1]
    across = [("", tasks) for tasks in _most(several, set_name(TASKS))]
    made: dict[str, TaskSet] = {}
    for domain, tasks in [*within, *across]:
        name = set_name(tasks)
        while name in made:
            name += " (others)"
        made[name] = TaskSet(tasks, name, domain)
    return list(made.values())


def _most(sets: list[frozenset[str]], whole: str) -> list[frozenset[str]]:
    """The first three sets, and those further on of that name, which are whole."""
    return sets[:3] + [tasks for tasks in sets[3:] if set_name(tasks).removesuffix(GENERATED) == whole]


def _of_domain(tasks: Iterable[str], domain: str) -> list[str]:
    return [task for task in tasks if domain_of(task) == domain]


def set_name(tasks: Collection[str]) -> str:
    """Name a set: "scene-play" (all five), "scene-play tasks 1, 3", "50 tasks (published data)"."""
    parts = spelled(tasks)
    if len(parts) == 1:
        return parts[0]
    generated = sum(task.endswith(GENERATED) for task in tasks)
    if generated:
        return f"{len(tasks)} tasks ({'' if generated == len(tasks) else 'some on '}generated data)"
    return f"{len(tasks)} tasks{' (published data)' if all('-singletask' in task for task in tasks) else ''}"


def spelled(tasks: Iterable[str]) -> list[str]:
    """The tasks by domain and data: ["antmaze-large-navigate", "scene-play tasks 1, 3 (generated data)"]."""
    numbers: dict[tuple[str, str], list[int]] = {}
    for task in in_order(tasks, TASKS):
        ending = GENERATED if task.endswith(GENERATED) else ""
        found = _NUMBERED.fullmatch(task.removesuffix(GENERATED))
        have = numbers.setdefault((found[1] if found else task.removesuffix(GENERATED), ending), [])
        have += [int(found[2])] if found else []
    return [f"{domain}{_numbers(sorted(have))}{ending}" for (domain, ending), have in numbers.items()]


def _numbers(numbers: list[int]) -> str:
    """The numbers of a domain's tasks, " tasks 1, 3"; nothing where these are all five, or it has none."""
    if numbers in ([], [1, 2, 3, 4, 5]):
        return ""
    return f" task{'s' * (len(numbers) > 1)} {', '.join(map(str, numbers))}"
