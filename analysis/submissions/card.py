"""A submission's card: what its records say in all, derived from them alone, for people to read."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

from analysis.averaging.selection import comparable
from analysis.averaging.statistics import task_means
from analysis.common.escape import markdown
from analysis.names import TASKS, in_order
from analysis.reading.loading import Runs
from analysis.submissions.standing import finished, last_day, regimes_of
from benchmark.common.errors import UserError

MADE_BY = ("commit", "python", "jax", "mujoco", "device", "origin")
"""Columns of `Runs.runs` that a card lists; origin says whose hyperparameters these are."""


def card(runs: Runs) -> bytes:
    """The card of some runs: regimes, what made them, success by agent and task. Markdown."""
    frame = finished(runs)
    days = sorted({str(text)[:10] for text in frame["started"].dropna()} | {last_day(frame)})
    hours = pd.to_numeric(frame["train_seconds"]).sum() + pd.to_numeric(frame["eval_seconds"]).sum()
    seeds = frame["seeds"].map(len).sum()
    lines = [
        f"# {_listed(frame['agent'])}",
        "",
        "Made of the records beside it by `analysis.submit`; `analysis.verify` makes it anew.",
        "",
        *(f"* regime of {markdown(agent)}: {markdown(regime)}" for agent, regime in regimes_of(runs).items()),
        f"* {len(frame)} runs, {seeds} seeds in all, {hours / 3600:,.1f} device hours, {days[0]} to {days[-1]}",
        *(f"* {name}: {_listed(frame[name])}" for name in MADE_BY),
        "",
        "| agent | task | seeds | success, % |",
        "| --- | --- | --- | --- |",
        *_rows(runs),
    ]
    return ("\n".join(lines) + "\n").encode()


def _listed(values: Iterable[object]) -> str:
    """The different values in print, at most eight of them."""
    texts = sorted({str(value)[:80] for value in values if value})
    return markdown(", ".join(texts[:8]) + (f" and {len(texts) - 8} more" if len(texts) > 8 else "")) or "not recorded"


def _rows(runs: Runs) -> list[str]:
    """Final success of each agent on each task, with its interval; none where these cannot be averaged."""
    try:
        means = task_means(comparable(runs).scores)
    except UserError:
        return []
    means = means.set_index(["task", "agent"])
    rows = []
    for task in in_order(means.index.unique("task"), TASKS):
        for agent, row in means.loc[task].iterrows():
            interval = "" if pd.isna(row["low"]) else f" [{100 * row['low']:.1f}, {100 * row['high']:.1f}]"
            cells = [markdown(str(agent)), markdown(task), str(row["seeds"]), f"{100 * row['mean']:.1f}{interval}"]
            rows.append(f"| {' | '.join(cells)} |")
    return rows
