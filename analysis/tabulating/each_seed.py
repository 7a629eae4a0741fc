"""Every seed's own success, with return and hours beside it: of few seeds a mean and its interval say too little."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

from analysis.averaging.costs import run_hours
from analysis.averaging.results import Results
from analysis.averaging.statistics import task_means
from analysis.names import TASKS, agents_in_order, in_order
from analysis.tabulating.cells import Cell, PrintedTable, Row, by_regimes, chosen_agents, marks_of
from benchmark.runs.seeds import format_seeds

HEADER = ["agent", "task", "success", "seeds", "each seed", "highest of each", "return", "hours"]
CAPTION = (
    "Then each seed's success, in their order, and the highest of each seed's evaluations, which is more than can be "
    "expected of a seed; the mean return of an episode; hours of the device for all seeds, training + evaluation."
)
PAIR = ["agent", "task"]


def seeds_table(results: Results, agents: Iterable[str] | None = None) -> PrintedTable:
    """Tasks x agents: on each task the highest success first, then the highest return.

    Agents of an archive have neither return nor hours. Where there are several regimes (`analysis.regimes`) a task's
    rows stand by regime, which has a column.
    """
    chosen = agents_in_order(chosen_agents(agents, agents_in_order(results.evaluations["agent"])))
    of = results.only(results.evaluations["agent"].isin(chosen))
    found = _per_task(of).sort_values("agent", key=lambda names: names.map(chosen.index))
    found["regime"] = [results.regime_on(agent, [task]) for agent, task in found[PAIR].itertuples(index=False)]
    places = {task: place for place, task in enumerate(in_order(found["task"], TASKS))}
    groups = {regime: place for place, regime in enumerate(found["regime"].unique())}
    found["place"], found["group"] = found["task"].map(places), found["regime"].map(groups)
    found = found.sort_values(["place", "group", "mean", "return"], ascending=[True, True, False, False])
    rows: list[Row] = [
        [r.agent, r.task, Cell(r.mean, r.low, r.high, 1), r.seeds, r.each, r.highest, r.cell, r.hours]
        for r in found.itertuples()
    ]
    text = f"Success in percent. {results.caption} {CAPTION}"
    table = PrintedTable("seeds", text, HEADER, rows, notes=results.notes, marks=marks_of(of.scores))
    return by_regimes(table, list(found["regime"]), {agent: results.regimes[agent] for agent in chosen})


def _per_task(results: Results) -> pd.DataFrame:
    """A row per (agent, task): mean, low, high; return, as number and cell; in print seeds, each, highest, hours."""
    finals = results.scores.sort_values("seed").groupby(PAIR)
    highest = results.evaluations.groupby([*PAIR, "seed"], as_index=False)["success"].max().groupby(PAIR)
    found = task_means(results.scores).drop(columns="seeds").set_index(PAIR)
    found["seeds"] = finals["seed"].agg(format_seeds)
    found["each"], found["highest"] = finals["score"].agg(_percents), highest["success"].agg(_percents)
    found["hours"] = _hours(results)
    returns = _returns(results)
    found["cell"] = [returns.get(pair, Cell()) for pair in found.index]
    found["return"] = [cell.value for cell in found["cell"]]
    return found.fillna({"hours": "–"}).reset_index()


def _percents(values: pd.Series) -> str:
    return ", ".join(f"{100 * value:.3g}" for value in values)


def _returns(results: Results) -> dict[tuple[str, str], Cell]:
    """The mean return of one's own agents by agent and task."""
    own = results.only(results.evaluations["source"] == "own").by("return")
    return {(r.agent, r.task): Cell(r.mean, r.low, r.high) for r in task_means(own.scores, bounded=False).itertuples()}


def _hours(results: Results) -> pd.Series:
    """Hours by agent and task, in print: "0.57 + 0.32"; those of runs whose time is not on record are unknown."""
    both = run_hours(results).groupby(PAIR)[["training", "evaluation"]].agg(lambda hours: hours.sum(skipna=False))
    known = both.apply(lambda row: f"{row['training']:.2f} + {row['evaluation']:.2f}", axis=1)
    return known.where(both.notna().all(axis=1), "unknown")
