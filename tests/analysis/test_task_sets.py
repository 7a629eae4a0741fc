"""Rows over other tasks, or on other data, are never averaged in one column: report, tables and figures alike."""

from __future__ import annotations

import math

import pandas as pd
import pytest

from analysis import Results, published
from analysis.averaging.task_sets import over, set_name, shared_sets, spelled, table_columns
from analysis.names import GENERATED, TASKS, domain_of
from analysis.tabulating.with_published import domain_table

CUBE = "cube-single-play-singletask-task1-v0"


def scores_of(figures: dict[str, dict[str, float]]) -> pd.DataFrame:
    """Scores of two equal seeds from {agent: {task: score}}."""
    rows = [
        (agent, task, domain_of(task), seed, score, 1000, "own")
        for agent, tasks in figures.items()
        for task, score in tasks.items()
        for seed in (0, 1)
    ]
    return pd.DataFrame(rows, columns=["agent", "task", "domain", "seed", "score", "step", "source"])


def test_one_generated_task_never_stands_beside_the_mean_of_fifty() -> None:
    scores = scores_of({"rql": {CUBE + GENERATED: 0.44}, "fql": {CUBE + GENERATED: 0.11}})
    table = domain_table(Results(scores.rename(columns={"score": "success"})))
    columns = {name: i for i, name in enumerate(table.header)}
    own = [row for row, mine in zip(table.rows, table.own, strict=True) if mine]
    theirs = [row for row, mine in zip(table.rows, table.own, strict=True) if not mine]
    assert [row[columns["average"]].text for row in own] == ["–", "–"]
    place = columns["cube-single-play task 1 (generated data)"]
    assert [row[place].text for row in own] == ["44 [44, 44]", "11 [11, 11]"]
    assert {row[place].text for row in theirs} == {"–"}
    assert next(row for row in theirs if row[0] == "rql")[columns["average"]].text == "56"


def test_every_column_is_over_the_tasks_that_it_names() -> None:
    figures = {
        "rql": {task: 0.5 for task in TASKS[:5]},
        "fql": {task: 0.1 * i for i, task in enumerate(TASKS[:3], 1)},
        "mine": {TASKS[0]: 0.9, TASKS[0] + GENERATED: 0.3, CUBE: 0.2},
    }
    scores = scores_of(figures)
    for column in table_columns(scores, with_published=True):
        rows = over(scores, column.tasks)
        have = {agent for agent, tasks in figures.items() if set(tasks) >= column.tasks}
        assert set(rows["agent"]) == have and set(rows["task"]) == (column.tasks if have else set())
        assert bool(column.domain) == (len({domain_of(task) for task in column.tasks}) == 1)
    names = [column.name for column in table_columns(scores, with_published=True)]
    domain = "antmaze-large-navigate"
    assert names[:3] == [domain, f"{domain} tasks 1, 2, 3", f"{domain} task 1"]
    assert len(set(names)) == len(names) and "50 tasks (published data)" in names


def test_a_whole_domain_has_its_column_however_many_rows_have_parts_of_it_and_who_has_none_is_named() -> None:
    parts = {f"few{k}": {TASKS[1]: 0.2, TASKS[2]: 0.2} for k in range(4)} | {"odd": {TASKS[3]: 0.4}}
    parts |= {f"some{k}": {task: 0.3 for task in TASKS[1:4]} for k in range(4)}
    parts |= {f"more{k}": {task: 0.3 for task in TASKS[1:5]} for k in range(4)}
    scores = scores_of({"mine": {task: 0.5 for task in TASKS[:5]}} | parts)
    assert "antmaze-large-navigate" in [column.name for column in table_columns(scores, with_published=False)]
    table = domain_table(Results(scores.rename(columns={"score": "success"})), published=False)
    whole = table.header.index("antmaze-large-navigate")
    assert {row[0]: row[whole].text for row in table.rows}["mine"] == "50 [50, 50]"
    (note,) = (note for note in table.notes if "--table=task" in note)
    assert note.startswith("Without a figure here") and ": odd*; " in note
    assert not any("--table=task" in note for note in domain_table(published=True).notes)


def test_rows_are_compared_over_what_they_share() -> None:
    assert shared_sets([{"a", "b", "c"}, {"b", "c", "d"}])[0] == {"b", "c"}
    # One row with little does not take the comparison of the others away.
    assert shared_sets([*[{"a", "b", "c"}] * 5, {"a"}])[0] == {"a", "b", "c"}
    assert shared_sets([{"a"}, {"b"}]) == [{"a"}, {"b"}] and shared_sets([]) == [] == shared_sets([set()])


def test_sets_are_named_by_domain_number_and_data() -> None:
    assert set_name(TASKS[:5]) == "antmaze-large-navigate"
    assert set_name(TASKS) == "50 tasks (published data)"
    assert set_name([CUBE + GENERATED]) == "cube-single-play task 1 (generated data)"
    assert set_name([CUBE + GENERATED, TASKS[0] + GENERATED]) == "2 tasks (generated data)"
    assert set_name([CUBE + GENERATED, *TASKS[:2]]) == "3 tasks (some on generated data)"
    assert set_name(["toy-modes", "toy-detour"]) == "2 tasks" and set_name(["toy-modes"]) == "toy-modes"
    assert spelled([*TASKS[:5], TASKS[6]]) == ["antmaze-large-navigate", "antmaze-giant-navigate task 2"]


def test_published_means_are_over_exactly_the_tasks() -> None:
    tasks = published.by_task().set_index(["agent", "task"])["success"]
    assert published.means({TASKS[0]})["rql"] == tasks["rql", TASKS[0]] and "tfql" not in published.means({TASKS[0]})
    assert published.means(TASKS)["rql"] == pytest.approx(0.556) and len(published.means(TASKS)) == 19
    for without in ({*TASKS[:5], CUBE}, {TASKS[0] + GENERATED}, set()):
        assert published.means(without) == {}
    by_domain = published.by_domain().set_index(["agent", "domain"])["success"]
    assert published.means(TASKS[:5])["tfql"] == by_domain["tfql", domain_of(TASKS[0])]
    both = (tasks["fql", TASKS[0]] + tasks["fql", TASKS[7]]) / 2
    assert math.isclose(published.means({TASKS[0], TASKS[7]})["fql"], both)
