"""How sensitive an agent is to a hyperparameter, domain by domain, from the runs of `benchmark.sweep`."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from analysis.averaging.selection import comparable
from analysis.averaging.settings import best
from analysis.averaging.statistics import student_interval
from analysis.drawing.axes import success_limits
from analysis.drawing.style import INK, TEXT_WIDTH, WIDTH, Drawing, looks_of_groups, new_figure, short_name, styled
from analysis.names import DOMAINS, agents_in_order, in_order, label
from analysis.reading.loading import load_runs
from analysis.regimes import ACROSS, SEVERAL, facts_of, name_of
from benchmark.common.errors import UserError

FEW = 3
"""Up to so many seeds are drawn one by one: an interval of two or three spans nearly everything."""


def read_sweep(folder: str | Path) -> tuple[pd.DataFrame, dict[str, str]]:
    """The finished runs of a sweep, a row a run and seed, and their regimes.

    Columns: agent, domain, task, seed, run, score (final success, 0 of a seed that diverged), course (mean success of
    all evaluations), and the hyperparameters. Rows come in the order in which the sweep has their settings. Raises a
    UserError where there is none.
    """
    place = Path(folder) / "tuning"
    if not place.is_dir():
        raise UserError(f"--sweep: there is no folder '{place}'; name the --out of python -m benchmark.sweep")
    runs = load_runs(place, cache=False)
    results = comparable(runs, mixed="pool")
    if results.evaluations.empty:
        raise UserError(f"--sweep: no finished run under '{place}'")
    evaluations = results.evaluations
    last = evaluations[evaluations["step"] == evaluations.groupby("run")["step"].transform("max")]
    made = dict(zip(runs.runs["run"], runs.runs["hyperparameters"], strict=True))
    numbers = [{name: value for name, value in made[run].items() if type(value) in (int, float)} for run in last["run"]]
    course = evaluations.groupby(["run", "seed"])["success"].mean().rename("course")
    kept = last[["agent", "domain", "task", "seed", "run"]].assign(score=last["success"])
    kept = kept.join(course, on=["run", "seed"])
    table = _as_swept(pd.concat([kept.reset_index(drop=True), pd.DataFrame(numbers)], axis=1), Path(folder) / "tuned")
    rows = {row.run: row for row in runs.runs.itertuples()}
    regimes = {
        str(agent): name_of({row.task: facts_of(rows[row.run]) for row in part.itertuples()})
        for agent, part in table.groupby("agent")
    }
    return table, regimes


def _as_swept(table: pd.DataFrame, tuned: Path) -> pd.DataFrame:
    """The rows in the order that the sweep's own tables have (`analysis.sweeps.write_scores`), else by their values."""
    parts = []
    for (agent, domain), rows in table.groupby(["agent", "domain"], sort=False):
        path = tuned / f"{agent}-{domain}.csv"
        names = swept(rows)
        ordered = rows.sort_values(names, kind="stable")
        if path.is_file() and set(names) <= set(found := pd.read_csv(path)):
            places = {values: place for place, values in enumerate(_texts(found, names))}
            order = np.argsort([places.get(values, len(places)) for values in _texts(ordered, names)], kind="stable")
            ordered = ordered.iloc[order]
        parts.append(ordered)
    return pd.concat(parts)


def _texts(table: pd.DataFrame, names: list[str]) -> list[tuple[str, ...]]:
    """Settings to be told apart, as a sweep's table writes them."""
    return [tuple(f"{value:.6g}" for value in row) for row in table[names].itertuples(index=False)]


def swept(table: pd.DataFrame) -> list[str]:
    """The hyperparameters that some task was run with several values of, of one agent's rows."""
    other = ("agent", "domain", "task", "seed", "run", "score", "course")
    known = [name for name in table.columns if name not in other]
    return [name for name in known if (table.groupby("task")[name].nunique() > 1).any()]


def along(table: pd.DataFrame, name: str, names: list[str]) -> pd.DataFrame:
    """One domain's success by one hyperparameter, the others as in its best setting, which is the sweep's.

    Columns: value, mean, low, high, best (whether it is of the best setting), scores (each seed's).
    """
    found = table.groupby(names, sort=False).agg(final=("score", "mean"), course=("course", "mean"))
    winner = best(found.reset_index(), names)
    own = table
    for other in names:
        own = own if other == name else own[np.isclose(own[other], winner[other])]
    rows = []
    for value, part in own.groupby(name):
        scores = part["score"].to_numpy(dtype=float)
        low, high = student_interval([scores[:, None]])[:, 0]
        rows.append((value, scores.mean(), low, high, bool(np.isclose(value, winner[name])), tuple(scores)))
    return pd.DataFrame(rows, columns=["value", "mean", "low", "high", "best", "scores"])


def draw_sensitivities(folder: str | Path, across: bool = False) -> Iterator[Drawing]:
    """A figure an agent: success against each hyperparameter that was swept, a line a domain and their mean.

    There is no mean over domains of several regimes unless `across`, which marks it. Raises what `read_sweep` raises.
    """
    table, regimes = read_sweep(folder)
    for agent in agents_in_order(table["agent"]):
        own = table[table["agent"] == agent]
        if names := swept(own):
            yield _draw(agent, own, names, regimes[agent].startswith(SEVERAL), across)


def _draw(agent: str, table: pd.DataFrame, names: list[str], several: bool, across: bool) -> Drawing:
    """One agent's figure: a panel a hyperparameter."""
    domains = in_order(table["domain"], DOMAINS)
    columns = min(2, len(names))
    rows = math.ceil(len(names) / columns)
    mean = "" if several and not across else f"mean{f' {ACROSS}' * several}"
    with styled():
        height = 0.45 + 1.9 * rows + 0.13 * math.ceil(len(domains) / 3)
        figure, axes = new_figure(height, rows, columns, (WIDTH, TEXT_WIDTH)[columns - 1], len(names), sharey=True)
        handles: dict[str, Any] = {}
        for axis, name in zip(axes.flat, names, strict=False):
            lines = {domain: along(table[table["domain"] == domain], name, names) for domain in domains}
            _panel(axis, name, {domain: line for domain, line in lines.items() if len(line) > 1}, mean)
            handles |= {text: handle for handle, text in zip(*axis.get_legend_handles_labels(), strict=True)}
        for axis in axes[:, 0]:
            axis.set_ylabel("success, %")
        figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=3 * columns)
        figure.suptitle(f"Sensitivity of {label(agent)}".replace("$", r"\$"), fontsize=7)
    fewest = table.groupby(["task", *names])["seed"].nunique().min()
    text = (
        f"Final success of {label(agent)} in a sweep, {fewest} tuning seeds a setting: small points where these are at "
    )
    text += (
        f"most {FEW}, else Student's 95% interval. Others of its hyperparameters are as in the domain's best setting, "
    )
    text += "which is filled."
    if several:
        said = (
            "is over domains of several regimes"
            if across
            else "over domains is not drawn, for they are of several regimes"
        )
        text += f" The mean {said}."
    return Drawing(f"sensitivity_{agent}", figure, text)


def _panel(axis: Axes, name: str, lines: dict[str, pd.DataFrame], mean: str) -> None:
    """One hyperparameter: a line a domain, and under the name `mean` theirs, where all have the same values."""
    for domain, (colour, marker) in looks_of_groups(lines).items():
        line = lines[domain]
        shape: dict[str, Any] = {"color": colour, "marker": marker, "markersize": 3.5}
        axis.plot(
            line["value"], line["mean"], linewidth=0.9, markerfacecolor="white", label=short_name(domain), **shape
        )
        axis.plot(line["value"][line["best"]], line["mean"][line["best"]], linewidth=0, zorder=4, **shape)
        for row in line.itertuples():
            if len(row.scores) <= FEW:
                axis.plot([row.value] * len(row.scores), row.scores, ".", color=colour, markersize=1.5, alpha=0.7)
            else:
                axis.vlines(row.value, row.low, row.high, color=colour, linewidth=0.6, alpha=0.6)
    values = {tuple(line["value"]) for line in lines.values()}
    if mean and len(values) == 1 and len(lines) > 1:
        height = np.mean([line["mean"] for line in lines.values()], axis=0)
        axis.plot(*values, height, color=INK, linewidth=1.8, label=mean, zorder=3)
    every = np.array(sorted({value for some in values for value in some}))
    if len(every) and every.min() > 0 and every.max() / every.min() >= 10:
        axis.set_xscale("log")
    axis.set_xticks(every, [f"{value:g}" for value in every])
    axis.minorticks_off()
    axis.set_xlabel(name)
    success_limits(axis, max([max(map(max, line["scores"])) for line in lines.values()], default=1.0))
