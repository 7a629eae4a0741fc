"""Two agents against one another, task by task, with intervals."""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from analysis.averaging.results import Results
from analysis.averaging.statistics import task_means
from analysis.drawing.axes import in_percent
from analysis.drawing.bars import task_group
from analysis.drawing.style import INK, Drawing, agent_text, looks_of_groups, new_figure, styled
from analysis.names import TASKS, agents_in_order, in_order, label
from analysis.regimes import ACROSS, reason
from benchmark.common.errors import UserError, check_choice


def draw_scatter(results: Results, x: str, y: str, across: bool = False) -> Drawing:
    """Success of agent y against that of agent x on each task that both have, with 95% intervals over seeds.

    Raises a UserError for an agent that is not there, two without a common task, and two of different regimes unless
    `across`, which marks them.
    """
    known = agents_in_order(results.evaluations["agent"])
    for agent in (x, y):
        check_choice("agent of --scatter", agent, known)
    means = task_means(results.scores).set_index(["agent", "task"])[["mean", "low", "high"]]
    table = means.loc[x].add_suffix("_x").join(means.loc[y].add_suffix("_y"), how="inner")
    tasks = in_order(table.index, TASKS)
    if not tasks:
        raise UserError(f"--scatter: {x} and {y} have no task in common")
    why = reason(results.facts.get(x, {}), results.facts.get(y, {}), tasks)
    if why and not across:
        raise UserError(f"--scatter: {x} and {y} are of different regimes: {why} (--across-regimes draws them, marked)")
    groups = pd.Series({task: task_group(task) for task in tasks})
    with styled():
        figure, axes = new_figure(3.5)
        axis = axes[0, 0]
        axis.plot([0, 1], [0, 1], color=INK, linewidth=0.6, linestyle=(0, (3, 2)), zorder=1)
        for group, (colour, marker) in looks_of_groups(groups.unique()).items():
            _points(axis, table.loc[groups.index[groups == group]], colour, marker, group)
        names = [f"{agent_text(agent)}{f' {ACROSS}' if why else ''}, success, %" for agent in (x, y)]
        axis.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03), xlabel=names[0], ylabel=names[1], aspect="equal")
        in_percent(axis.xaxis, axis.yaxis)
        figure.legend(loc="outside lower center", ncols=min(5, groups.nunique()), handletextpad=0.1, columnspacing=0.8)
    above = int((table["mean_y"] > table["mean_x"]).sum())
    below = int((table["mean_y"] < table["mean_x"]).sum())
    text = f"{label(y)} against {label(x)} on {len(tasks)} tasks: above on {above}, below on {below}. {results.caption}"
    apart = f" {ACROSS} Of different regimes, which may be why they differ: {why}." if why else ""
    return Drawing("scatter", figure, text + apart)


def _points(axis: Axes, rows: pd.DataFrame, colour: str, marker: str, name: str) -> None:
    """The tasks of one group: crosses of intervals behind, points before."""
    for side in ("x", "y"):
        errors = [(rows[f"mean_{side}"] - rows[f"low_{side}"]), (rows[f"high_{side}"] - rows[f"mean_{side}"])]
        lines: dict[str, Any] = {f"{side}err": [error.clip(lower=0).fillna(0) for error in errors]}
        axis.errorbar(
            rows["mean_x"], rows["mean_y"], fmt="none", ecolor=colour, elinewidth=0.6, alpha=0.45, zorder=2, **lines
        )
    style: dict[str, Any] = {"color": colour, "markersize": 3.2, "markeredgewidth": 0}
    axis.plot(rows["mean_x"], rows["mean_y"], marker, label=name, zorder=3, clip_on=False, **style)
