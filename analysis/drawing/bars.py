"""Bars: mean success by agent, over all tasks and by group of tasks, published means beside them."""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from analysis import published as published_figures
from analysis.averaging.results import Results
from analysis.averaging.statistics import overall_means
from analysis.averaging.task_sets import shared_sets, tasks_of
from analysis.drawing.axes import CAPS, in_percent, name_rows, panel_title
from analysis.drawing.style import (
    CROWD,
    IMPORTED,
    INK,
    QUIET,
    TEXT_WIDTH,
    WIDTH,
    Drawing,
    Looks,
    fitting_size,
    new_figure,
    styled,
)
from analysis.names import TASKS, agents_in_order, domain_of, in_order, label
from analysis.regimes import ACROSS, NOT_AVERAGED, why_apart


def task_group(domain: str) -> str:
    """Return the group of tasks a domain belongs to: 'antmaze' of 'antmaze-large-navigate'."""
    return domain.partition("-")[0]


def published_agents(evaluations: pd.DataFrame) -> list[str]:
    """The agents whose published means stand among the bars of these evaluations: those that have one on the tasks of a
    panel, and no bar from their published curves.
    """
    found = {agent for _, tasks in _bar_panels(evaluations) for agent in published_figures.means(tasks)}
    run = set(evaluations["agent"])
    # An agent whose published curves were imported has its bar already, with an interval.
    return agents_in_order(agent for agent in found if agent in run or f"{agent} ({IMPORTED})" not in run)


def _bar_panels(scores: pd.DataFrame) -> list[tuple[str, frozenset[str]]]:
    """Title and tasks of each panel: the sets of all tasks that most agents share, then the first one's groups.

    Without scores these are the published tasks.
    """
    sets = shared_sets(tasks_of(scores).values())[:2] or [frozenset(TASKS)]
    groups: dict[str, set[str]] = {}
    for task in in_order(sets[0], TASKS):
        groups.setdefault(task_group(domain_of(task)), set()).add(task)
    panels = [(panel_title(tasks), tasks) for tasks in sets]
    return panels + [(panel_title(t, group), frozenset(t)) for group, t in groups.items() if len(groups) > 1]


def _bars_of(results: Results, tasks: frozenset[str], published: Collection[str], across: bool) -> pd.DataFrame:
    """Means over a panel's tasks: mean, low, high, published (NaN where there is none), by agent."""
    own = overall_means(results.averaged(tasks, across)).set_index("agent")[["mean", "low", "high"]].astype(float)
    known = published_figures.means(tasks) if published else {}
    theirs = {agent: mean for agent, mean in known.items() if agent in published}
    return own.reindex([*own.index, *(agent for agent in theirs if agent not in own.index)]).assign(
        published=lambda table: [theirs.get(agent, np.nan) for agent in table.index]
    )


def draw_bars(
    results: Results, highlight: str, look: Looks, published: Collection[str] = (), across: bool = False
) -> Drawing:
    """Success by agent, over all tasks and by group of tasks, with 95% intervals; agents ordered by their mean.

    Published means, of the agents `published`, are diamonds beside one's own bars, and hollow bars where there is
    nothing of one's own. Agents stand by regime, ordered within it, with a line between regimes, and have no bar over
    tasks of several; `across` orders and averages all, marked.
    """
    scores = results.scores
    panels = _bar_panels(scores)
    bars = [_bars_of(results, tasks, published, across) for _, tasks in panels]
    overall = bars[0]
    most = float(np.nanmax([0.05, *(table[["mean", "high", "published"]].max().max() for table in bars)]))
    # The published mean orders all agents where it is shown: an agent run on few tasks would else be misplaced.
    shown = overall["mean"].fillna(overall["published"])
    agents = list(shown.sort_values(ascending=False, kind="stable").index)
    others = {*scores["agent"], *(agent for table in bars for agent in table.index)} - set(agents)
    agents += agents_in_order(others)
    regimes = {agent: results.regimes.get(agent, published_figures.regime(agent)) for agent in agents}
    order = list(dict.fromkeys(regimes.values()))
    if not across:
        agents.sort(key=lambda agent: order.index(regimes[agent]))
    lines = [] if across else [i - 0.5 for i in range(1, len(agents)) if regimes[agents[i - 1]] != regimes[agents[i]]]
    columns = min(6, len(panels))
    rows = math.ceil(len(panels) / columns)
    width = WIDTH if columns <= 2 else TEXT_WIDTH
    with styled():
        height = rows * (0.4 + 0.125 * max(len(agents), 3)) + (0.25 if published else 0.1)
        height += 0.15 * any("\n" in title for title, _ in panels)
        figure, axes = new_figure(height, rows, columns, width, len(panels), sharey=True)
        for axis, (title, _), table in zip(axes.flat, panels, bars, strict=False):
            _bars(axis, table.reindex(agents), [look[a].colour for a in agents], agents.index(highlight), most)
            axis.set_title(title, fontsize=fitting_size(max(title.split("\n"), key=len), 28 if columns <= 2 else 20))
            axis.set_xlabel("success, %" if axis in axes[-1] else "")
            for place in lines:
                axis.axhline(place, color=INK, linewidth=0.5)
        for axis in axes[:, 0]:
            name_rows(axis, agents, highlight)
        if published:
            imported = scores["agent"].str.endswith(f"({IMPORTED})")
            ours = "ours" if not imported.any() else ("imported" if imported.all() else "ours, † imported")
            ran = [table["mean"][table["published"].notna()].notna() for table in bars]
            beside, alone = any(has.any() for has in ran), not all(has.all() for has in ran)
            _published_legend(figure, ours if len(scores) else "", beside, alone)
    text = f"In percent. {results.caption}" if len(scores) else "Success in percent."
    theirs = "Published: means that the methods' authors reported, see results/published/README.md."
    drawing = Drawing("bars", figure, text).saying(theirs if published else "")
    if len(order) == 1 and not results.of_several_regimes:
        return drawing
    done = ["a line is between them, each with an order of its own"] if len(order) > 1 else []
    done += [NOT_AVERAGED] if results.of_several_regimes else []
    if across:
        done = [f"their order, marked {ACROSS}, is no ranking"]
        axes[0, 0].set_ylabel(f"{ACROSS} of several regimes", fontsize=6)
    return drawing.saying(why_apart({label(agent): regimes[agent] for agent in agents}, ", and ".join(done)))


def _bars(axis: Axes, bars: pd.DataFrame, colours: list[str], highlight: int, highest: float) -> None:
    """Draw one panel of horizontal bars; rows of `bars` in order from the top, a dash where there is no figure.

    The scale goes up to the highest figure of all panels.
    """
    places = np.arange(len(bars))
    if len(bars) > CROWD:
        colours = [colours[i] if i == highlight else QUIET for i in places]
    theirs = bars["mean"].isna() & bars["published"].notna()
    axis.barh(places, bars["mean"], height=0.72, color=colours, linewidth=0)
    hollow: dict[str, Any] = {"facecolor": "white", "edgecolor": [colours[i] for i in places[theirs]], "linewidth": 0.7}
    axis.barh(places[theirs], bars["published"][theirs], height=0.72, hatch="//////", **hollow)
    sure = bars["low"].notna()
    errors = [(bars["mean"] - bars["low"])[sure], (bars["high"] - bars["mean"])[sure]]
    axis.errorbar(bars["mean"][sure], places[sure], xerr=errors, fmt="none", ecolor=INK, elinewidth=0.8, **CAPS)
    both = ~theirs & bars["published"].notna()
    diamond: dict[str, Any] = {"markersize": 3, "markerfacecolor": "white", "markeredgecolor": INK, "mew": 0.7}
    if both.any():  # An unclipped line without points has no extent, and upsets the layout.
        axis.plot(bars["published"][both], places[both], "D", clip_on=False, zorder=3, **diamond)
    for place, (mean, high, other) in enumerate(zip(bars["mean"], bars["high"], bars["published"], strict=True)):
        value = mean if np.isfinite(mean) else other
        if np.isfinite(value):
            end = np.nanmax([value, high])
            if np.isfinite(mean) and np.isfinite(other) and -0.03 < (other - end) / highest < 0.3:
                end = other + 0.03 * highest  # Past the diamond, and not touching it.
            axis.text(end + 0.035 * highest, place, f"{100 * value:.0f}", va="center", fontsize=5.5, color=INK)
        else:
            axis.text(0.035 * highest, place, "–", va="center", fontsize=5.5, color=QUIET)
    in_percent(axis.xaxis)
    steps = [0.01, 0.02, 0.05, 0.1, 0.2, 0.25, 0.5]
    step = next(step for step in steps if highest / step <= 4)
    axis.set_xticks(np.arange(0, min(1, 1.26 * highest) + 1e-9, step))
    axis.set_xlim(0, 1.26 * highest)
    axis.grid(axis="y", visible=False)
    axis.tick_params(axis="y", length=0)


def _published_legend(figure: Figure, ours: str, beside: bool, alone: bool) -> None:
    """Say which marks are published means: beside filled bars, which are `ours` ("" where there are none), or alone."""
    handles: list[Any] = [Patch(facecolor=QUIET, label=ours)] if ours else []
    if beside:
        marker = Line2D([], [], marker="D", color="none", markerfacecolor="white", markeredgecolor=INK, markersize=3)
        marker.set_label("published, beside ours")
        handles.append(marker)
    if alone:
        handles.append(Patch(facecolor="white", edgecolor=QUIET, hatch="//////", label="published"))
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), handlelength=1.4)
