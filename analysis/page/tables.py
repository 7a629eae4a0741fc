"""The page's two tables of success: averages over sets of tasks, and agents by tasks."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
import pandas as pd

from analysis import published
from analysis.averaging import statistics
from analysis.averaging.results import Results
from analysis.averaging.task_sets import TaskSet, spelled, table_columns
from analysis.names import SHARED, TASKS, agents_in_order, in_order, label, own_first, setting_text
from analysis.regimes import apart_from_published
from analysis.tabulating.cells import sources_of


def groups(results: Results, with_published: bool) -> dict[str, Any]:
    """The table of averages: columns {name, tasks}, and rows of cells {mean, low, high, best} or None.

    One's own rows come first, and the columns in which they have figures. Best is said within a regime; an agent whose
    tasks are of several has no averages.
    """
    scores = results.scores
    sources, settings = sources_of(scores), _settings(results)
    own: dict[str, dict[str, Any]] = {agent: {} for agent in own_first(sources)}
    theirs: dict[str, dict[str, Any]] = {}
    found: list[tuple[bool, bool, TaskSet]] = []
    for column in table_columns(scores, with_published):
        means = statistics.overall_means(results.averaged(column.tasks)) if len(scores) else scores
        found.append((not len(means), bool(column.domain), column))
        best = _best(results, means, column.tasks) if len(means) else ()
        for row in means.assign(best=best).itertuples() if len(means) else ():
            own[row.agent][column.name] = {"mean": row.mean, "low": row.low, "high": row.high, "best": bool(row.best)}
        for agent, mean in published.means(column.tasks).items() if with_published else ():
            theirs.setdefault(agent, {})[column.name] = {"mean": mean}
    columns = [column for *_, column in sorted(found, key=lambda entry: entry[:2])]
    rows = [(agent, sources[agent], settings.get(agent, ""), own[agent]) for agent in own if sources[agent] == "own"]
    rows += [(agent, sources[agent], "", own[agent]) for agent in own if sources[agent] != "own"]
    rows += [(agent, "published", "", theirs[agent]) for agent in agents_in_order(theirs)]
    return {
        "columns": [{"name": column.name, "tasks": "; ".join(spelled(column.tasks))} for column in columns],
        "rows": [
            {"agent": label(a), "source": source, "settings": text, "cells": [cells.get(c.name) for c in columns]}
            for a, source, text, cells in rows
        ],
    }


def _best(results: Results, means: pd.DataFrame, tasks: Collection[str]) -> np.ndarray:
    """Which means over some tasks are near the best of those of one regime there."""
    return statistics.near_best_within(list(means["mean"]), [results.regime_on(a, tasks) for a in means["agent"]])


def _settings(results: Results) -> dict[str, str]:
    """Each agent's own hyperparameters, "alpha=3 flow_steps=10"; one that is not the same on all tasks says so."""
    runs = results.runs.runs
    made = dict(zip(runs["run"], runs["hyperparameters"], strict=True))
    result = {}
    for agent, rows in results.evaluations.groupby("agent"):
        each = [made[run] for run in rows["run"].unique() if run in made]
        names = [name for name in dict.fromkeys(name for one in each for name in one) if name not in SHARED]
        texts = {name: {setting_text(name, one.get(name)) for one in each} for name in names}
        result[str(agent)] = ", ".join(min(t) if len(t) == 1 else f"{name} by task" for name, t in texts.items())
    return result


def tasks(results: Results) -> list[dict[str, Any]]:
    """The table of agents and tasks, with the published mean beside each where there is one.

    A figure of another regime than the published one has no difference to it, but the reason, `apart`.
    """
    scores = results.scores
    if not len(scores):
        return []
    table = statistics.task_means(scores)
    theirs = {(r.agent, r.task): r.success for r in published.by_task().itertuples()}
    place = {name: i for i, name in enumerate(in_order(table["task"], TASKS))}
    order = {name: i for i, name in enumerate(own_first(table["agent"]))}
    rows = []
    for task, group in sorted(table.groupby("task"), key=lambda item: place[item[0]]):
        best = _best(results, group, [task])
        for row, flag in sorted(zip(group.itertuples(), best, strict=True), key=lambda item: order[item[0].agent]):
            method = row.agent.partition(" (")[0]
            other = theirs.get((method, task))
            cells: dict[str, Any] = {"agent": label(row.agent), "task": task}
            cells |= {name: round(float(getattr(row, name)), 6) for name in ("mean", "low", "high")}
            cells |= {"seeds": row.seeds, "published": other}
            facts = results.facts.get(row.agent, {})
            why = "" if other is None or task not in facts else apart_from_published({task: facts[task]}, method)
            cells["difference"] = None if other is None or why else round(float(row.mean - other), 6)
            cells["apart"] = why
            rows.append(cells | {"best": bool(flag)})
    return rows
