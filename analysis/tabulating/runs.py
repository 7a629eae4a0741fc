"""Tables of one's own runs alone: their success, their returns, and the normalised scores of those on D4RL's tasks."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from analysis.averaging.results import Results
from analysis.averaging.statistics import task_means
from analysis.names import agents_in_order
from analysis.tabulating.cells import Cell, PrintedTable, Row, by_regimes, chosen_agents, marks_of
from analysis.tabulating.formats import printed_rows
from benchmark.common.errors import printable

D4RL_CAVEATS = (
    "Published D4RL scores are from its own environments on MuJoCo 2.1; in another environment they do not compare.",
)


def summary(results: Results, agents: Iterable[str] | None = None) -> PrintedTable:
    """Success by domain, task and agent, in the tables' order; of some agents alone where any are named.

    Where there are several regimes (`analysis.regimes`) rows stand by regime, which has a column.
    """
    chosen = agents_in_order(chosen_agents(agents, agents_in_order(results.evaluations["agent"])))
    means = task_means(results.scores[results.scores["agent"].isin(chosen)])
    regimes = {agent: results.regimes[agent] for agent in chosen}
    order = list(dict.fromkeys(regimes.values()))

    def place(row: Any) -> tuple[int, str, str, int]:
        return order.index(regimes[row.agent]), row.domain, row.task, chosen.index(row.agent)

    ordered = sorted(means.itertuples(), key=place)
    rows: list[Row] = [[r.agent, r.task, Cell(r.mean, r.low, r.high, digits=1), str(r.seeds)] for r in ordered]
    header, text = ["agent", "task", "success", "seeds"], f"Success in percent. {results.caption}"
    table = PrintedTable("summary", text, header, rows, notes=results.notes, marks=marks_of(results.scores))
    return by_regimes(table, [regimes[r.agent] for r in ordered], regimes)


def returns_table(results: Results, agents: Iterable[str] | None = None) -> PrintedTable:
    """Mean return and length of an episode by task and agent: they tell agents apart where hardly one solves a task."""
    chosen = chosen_agents(agents, agents_in_order(results.evaluations["agent"]))
    found = {}
    for measure in ("return", "length"):
        of = results.by(measure)
        means = task_means(of.scores[of.scores["agent"].isin(chosen)], bounded=False)
        found[measure] = {(row.task, row.agent): row for row in means.itertuples()}
    order = {agent: place for place, agent in enumerate(chosen)}
    rows: list[Row] = []
    for task, agent in sorted(found["return"], key=lambda key: (key[0], order[key[1]])):
        each = [found[measure][task, agent] for measure in ("return", "length")]
        cells = [Cell(one.mean, one.low, one.high) for one in each]
        rows.append([agent, task, *cells, str(each[0].seeds)])
    text = "Mean return and length of an episode. " + results.caption.replace("Success", "Both", 1)
    header, marks = ["agent", "task", "return", "length", "seeds"], marks_of(results.scores)
    return PrintedTable("returns", text, header, rows, notes=results.notes, marks=marks)


def print_summary(results: Results) -> None:
    """Print `summary` to the terminal."""
    table = summary(results)
    grid = Table(caption=Text(printable(table.caption)), caption_justify="left")
    for name in table.header:
        grid.add_column(name, justify="right" if name in ("success", "seeds") else "left")
    for row in printed_rows(table, str, printable):
        grid.add_row(*(Text(text) for text in row))
    Console().print(grid)


def d4rl_table(results: Results, agents: Iterable[str] | None = None) -> PrintedTable:
    """D4RL's normalised scores: tasks x agents, with the environment that each task was played in.

    A score is the mean return between D4RL's random policy (0) and its expert (100); a diverged seed's is 0.
    """
    runs = results.runs.runs
    known = runs[runs["reference_scores"].map(lambda pair: isinstance(pair, list))]
    references = dict(zip(known["task"], known["reference_scores"], strict=True))
    environments = {task: " and ".join(dict.fromkeys(rows["environment"])) for task, rows in known.groupby("task")}
    data = results.evaluations[results.evaluations["task"].isin(references)]
    low, high = (data["task"].map(lambda task, end=end: references[task][end]).astype(float) for end in (0, 1))
    normalised = ((data["return"] - low) / (high - low)).where(~data["imputed"].astype(bool), 0.0)
    returns = dataclasses.replace(results, evaluations=data.assign(success=normalised))
    chosen = chosen_agents(agents, agents_in_order(returns.scores["agent"]))
    means = task_means(returns.scores, bounded=False)
    cells = {(r.task, r.agent): Cell(r.mean, r.low, r.high, digits=1) for r in means.itertuples()}
    rows: list[Row] = [
        [task, environments[task], *(cells.get((task, agent), Cell()) for agent in chosen)]
        for task in dict.fromkeys(returns.scores["task"])
    ]
    text = "D4RL's normalised score: 0 is its random policy, 100 its expert. "
    text += returns.caption.replace("Success", "Return", 1)
    said = [*results.notes, *(D4RL_CAVEATS if rows else ())]
    header = ["task", "environment", *chosen]
    return PrintedTable("d4rl", text, header, rows, notes=said, marks=marks_of(returns.scores))
