"""Figures of the results, as PDF and PNG, made to be read at the width of one column and by the colour-blind.

python -m analysis.figures --runs runs/quickstart --out figures
python -m analysis.figures --runs runs/ogbench runs/mine --published --highlight my_agent --out figures
python -m analysis.figures --runs runs/mine --archive qam_curves.csv --agents "my_agent,fql (QAM archive)" --out figures
python -m analysis.figures --reversal reversal.npz --out figures

Success is in percent. Every agent has one colour and one dash pattern in all figures. Up to `CROWD` agents are told
apart by these; where there are more, one of them is highlighted and the others are named in place and drawn in grey.
What is averaged over tasks is over the same tasks for every agent of a panel (`analysis.task_sets`); who has not all of
them is not in it, and the caption says so.

**The reversal file** (`--reversal`), a numpy `.npz` made from a trained flow policy at one observation, with F flow
steps and n trajectories, all of them in two chosen coordinates of the action chunk:

============ =============================================================================================
forward      float (n, F+1, 2). `forward[:, 0]` is noise, `forward[:, F]` the action that the flow makes of it
reversed     float (n, F+1, 2). `reversed[:, 0]` is an action of the dataset, `reversed[:, F]` the noise that the
             reversed flow leads back to
coordinates  optional, int (2,): which two of the flattened chunk's coordinates these are
agent, task  optional, text: for the caption
============ =============================================================================================
"""

from __future__ import annotations

import itertools
import math
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis import published as published_figures
from analysis import statistics
from analysis.escape import markdown
from analysis.names import DOMAINS, GENERATED, TASKS, agents_in_order, domain_of, in_order, label
from analysis.progress import bar
from analysis.style import (
    BLACK,
    BLUE,
    IMPORTED,
    INK,
    QUIET,
    TEXT_WIDTH,
    VERMILLION,
    WIDTH,
    Drawing,
    Look,
    agent_text,
    fitting_size,
    looks,
    new_figure,
    short_name,
    styled,
)
from analysis.task_sets import over, set_name, shared, shared_sets, spelled, tasks_of
from benchmark.common.errors import UserError, check_choice, printable, run_main
from benchmark.common.options import Parser, folder, input_file, input_folder, names, whole_number

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.axis import XAxis, YAxis
    from matplotlib.figure import Figure

Looks = Mapping[str, Look]
"""How each agent is drawn, the same in all figures of a folder."""
CROWD = 6
"""More agents than this are not told apart by colour."""
CAPS: dict[str, Any] = {"capsize": 1.8, "capthick": 0.8}
"""Ends of intervals, in points."""


def choose_highlight(agents: Sequence[str], highlight: str | None) -> str:
    """Return the agent to highlight: the one asked for, else RQL, else the first.

    Raises:
        UserError: the one asked for is not there.
    """
    if highlight is not None:
        return check_choice("agent to highlight", highlight, agents)
    return next((agent for agent in agents if agent.partition(" (")[0] == "rql"), agents[0])


def _steps_axis(axis: Axes, steps: pd.Series, ticks: int = 4, named: bool = True) -> None:
    """Write steps as 500k or 1M."""
    from matplotlib.ticker import EngFormatter, FixedLocator, MaxNLocator

    axis.xaxis.set_major_formatter(EngFormatter(sep=""))
    few = steps.nunique() <= ticks
    axis.xaxis.set_major_locator(FixedLocator(sorted(steps.unique())) if few else MaxNLocator(ticks))
    if named:
        axis.set_xlabel("gradient steps")


def _in_percent(*axes: XAxis | YAxis) -> None:
    """Write fractions as percent; the label says so."""
    from matplotlib.ticker import FuncFormatter

    for axis in axes:
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.4g}"))


def _success_limits(axis: Axes, highest: float) -> None:
    """Let success begin a marker's radius below 0, and leave out the empty upper part."""
    top = min(1.05, max(0.1, 1.15 * highest if np.isfinite(highest) else 1.0))
    axis.set_ylim(-0.04 * top, top)
    _in_percent(axis.yaxis)


MOST_MARKERS = 30
"""A curve of more points than this has no markers: they would hide it."""


def _curve(axis: Axes, rows: pd.DataFrame, look: Look, band: bool = True, **line: Any) -> None:
    """Draw one mean curve with a marker at each evaluation, and its interval where it has one and `band` is true."""
    line = {"marker": "o" if len(rows) <= MOST_MARKERS else "", "markersize": 2.5} | line
    axis.plot(rows["step"], rows["mean"], color=look.colour, linestyle=look.dash, **line)
    if band and len(rows) == 1:
        axis.vlines(rows["step"], rows["low"], rows["high"], color=look.colour, linewidth=0.8)
    elif band:
        axis.fill_between(rows["step"], rows["low"], rows["high"], color=look.colour, alpha=0.18, linewidth=0)


def _seed_curves(axis: Axes, rows: pd.DataFrame, look: Look) -> None:
    """Draw every seed as a thin line."""
    for _, own in rows.sort_values("step").groupby("seed"):
        axis.plot(own["step"], own["success"], color=look.colour, linewidth=0.4, alpha=0.7, marker=".", markersize=1.5)


def draw_learning_curves(evaluations: pd.DataFrame, look: Looks) -> Drawing:
    """Success against gradient steps for a few agents: one panel per task, or per domain where tasks are many.

    Up to five seeds of one task are thin lines; otherwise a band is the 95% interval of the mean.
    """
    by: Any = "task" if evaluations["task"].nunique() <= 6 else "domain"
    everybody, evaluations = agents_in_order(evaluations["agent"]), shared(evaluations, by)
    agents = agents_in_order(evaluations["agent"])
    groups = list(dict.fromkeys(evaluations.sort_values("task")[by]))
    groups = in_order(groups, DOMAINS) if by == "domain" else groups
    curves = statistics.learning_curves(evaluations, by)
    each_seed = by == "task" and evaluations["seed"].nunique() <= 5
    columns = min(2, len(groups))
    rows = math.ceil(len(groups) / columns)
    with styled():
        height = 0.35 + 0.15 * math.ceil(len(agents) / 3) + (2.0 if columns == 1 else 1.25 * rows)
        figure, axes = new_figure(height, rows, columns, sharex=len(groups) > 1)
        for axis, group in zip(axes.flat, groups, strict=False):
            of_group = curves[curves[by] == group]
            highest = of_group["high"].fillna(of_group["mean"]).max()
            for agent in agents:
                mine = evaluations[(evaluations["agent"] == agent) & (evaluations[by] == group)]
                if each_seed and len(mine):
                    _seed_curves(axis, mine, look[agent])
                    highest = max(highest, mine["success"].max())
                _curve(axis, of_group[of_group["agent"] == agent], look[agent], band=not each_seed, linewidth=1.0)
            title = _panel_title(set(evaluations["task"][evaluations[by] == group]), group)
            axis.set_title(title, fontsize=fitting_size(max(title.split("\n"), key=len), 28 if columns > 1 else 60))
            axis.set_ylabel("success, %" if axis in axes[:, 0] else "")
            _success_limits(axis, highest)
            _steps_axis(axis, evaluations["step"], named=axis in axes[-1])
        for axis in axes.flat[len(groups) :]:
            axis.set_visible(False)
        _legend(figure, agents, look)
    seeds = "thin lines: single seeds" if each_seed else "band: 95% interval"
    whose = "" if by == "task" else " of the agents that have all of a panel's tasks"
    text = f"Success in percent while training, mean over seeds{whose}; {seeds}."
    return _with(_left_out(everybody, agents), Drawing("learning_curves", figure, text))


def _legend(figure: Figure, agents: Sequence[str], look: Looks) -> None:
    """Name the agents below the panels."""
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], color=look[a].colour, linestyle=look[a].dash, linewidth=1.2) for a in agents]
    names = [agent_text(agent) for agent in agents]
    columns = next(columns for columns, most in ((3, 14), (2, 24), (1, math.inf)) if max(map(len, names)) <= most)
    figure.legend(handles, names, loc="outside lower center", ncols=min(columns, len(agents)), handlelength=2.2)


def draw_learning_curves_by_agent(evaluations: pd.DataFrame, highlight: str, look: Looks) -> Drawing:
    """Many agents' curves over all tasks: a panel per agent, the highlighted one for comparison in each."""
    agents = agents_in_order(evaluations["agent"])
    curves = {agent: rows for agent, rows in statistics.learning_curves(evaluations, "overall").groupby("agent")}
    left_out = [label(agent) for agent in agents if agent not in curves]
    agents = [agent for agent in agents if agent in curves]
    reference = curves.get(highlight)
    columns = 4
    rows = max(1, math.ceil(len(agents) / columns))
    with styled():
        figure, axes = new_figure(0.3 + 0.8 * rows, rows, columns, sharex=True, sharey=True)
        highest = max((curve["high"].fillna(curve["mean"]).max() for curve in curves.values()), default=1.0)
        for axis, agent in zip(axes.flat, agents, strict=False):
            for other in agents:
                axis.plot(curves[other]["step"], curves[other]["mean"], color="#DDDDDD", linewidth=0.5, zorder=1)
            if reference is not None:
                axis.plot(reference["step"], reference["mean"], color=look[highlight].colour, linewidth=0.9, zorder=2)
            own = look[highlight] if agent == highlight else Look(INK, "-")
            _curve(axis, curves[agent], own, markersize=1.5, linewidth=0.9, zorder=3)
            weight = "bold" if agent == highlight else "normal"
            axis.set_title(
                agent_text(agent), color=own.colour, fontweight=weight, fontsize=fitting_size(agent_text(agent), 13)
            )
            _success_limits(axis, highest)
            _steps_axis(axis, evaluations["step"], ticks=2, named=False)
        for axis in axes.flat[len(agents) :]:
            axis.set_visible(False)
        figure.supxlabel("gradient steps", fontsize=7)
        figure.supylabel("success, %, mean over tasks", fontsize=7)
    text = f"Success in percent while training, mean over tasks; in every panel {label(highlight)} is coloured "
    text += "and the other agents are grey. Band: 95% interval."
    if left_out:
        text += f" Left out, as their tasks have no evaluation step in common: {', '.join(left_out)}."
    return Drawing("learning_curves_by_agent", figure, text)


def _few_ticks(most: int = 2) -> Any:
    """Tick positions for a panel of less than an inch."""
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(most)


def draw_learning_curves_by_domain(evaluations: pd.DataFrame, highlight: str, look: Looks) -> Drawing:
    """Many agents' curves in every domain: the highlighted one and the best of the others stand out."""
    evaluations = shared(evaluations, "domain")
    curves = statistics.learning_curves(evaluations, "domain")
    domains = in_order(curves["domain"], DOMAINS)
    rows = math.ceil(len(domains) / 2)
    with styled():
        figure, axes = new_figure(0.3 + 1.15 * rows, rows, 2, sharex=True)
        for axis, domain in zip(axes.flat, domains, strict=False):
            of_domain = {agent: c for agent, c in curves[curves["domain"] == domain].groupby("agent")}
            others = [agent for agent in of_domain if agent != highlight]
            for agent in others:
                axis.plot(of_domain[agent]["step"], of_domain[agent]["mean"], color="#D5D8DB", linewidth=0.6)
            best = sorted(others, key=lambda agent: -of_domain[agent]["mean"].iloc[-1])[:1]
            for agent, drawn in [*((agent, Look(INK, "-")) for agent in best), (highlight, look[highlight])]:
                if agent in of_domain:
                    _curve(axis, of_domain[agent], drawn, markersize=1.8, linewidth=1.0)
            title = _panel_title(set(evaluations["task"][evaluations["domain"] == domain]), domain)
            other = f"best other: {agent_text(best[0])}" if best else ""
            axis.set_title(f"{title}\n{other}".strip(), fontsize=fitting_size(max(title, other, key=len), 32, 6.5))
            axis.set_ylabel("success, %" if axis in axes[:, 0] else "")
            _success_limits(axis, max(c["high"].fillna(c["mean"]).max() for c in of_domain.values()))
            _steps_axis(axis, evaluations["step"], named=axis in axes[-1])
        for axis in axes.flat[len(domains) :]:
            axis.set_visible(False)
    text = "Success in percent while training, by domain, of the agents that have all of a panel's tasks: "
    text += f"{label(highlight)} in colour, the one that ends best among the others in black, the rest grey. "
    return Drawing("learning_curves_by_domain", figure, f"{text}Band: 95% interval.")


def task_group(domain: str) -> str:
    """Return the group of tasks a domain belongs to: 'antmaze' of 'antmaze-large-navigate'."""
    return domain.partition("-")[0]


def _bar_panels(scores: pd.DataFrame) -> list[tuple[str, frozenset[str]]]:
    """Title and tasks of each panel: the sets of all tasks that most agents share, then the first one's groups.

    Without scores these are the published tasks.
    """
    sets = shared_sets(tasks_of(scores).values())[:2] or [frozenset(TASKS)]
    groups: dict[str, set[str]] = {}
    for task in in_order(sets[0], TASKS):
        groups.setdefault(task_group(domain_of(task)), set()).add(task)
    panels = [(_panel_title(tasks), tasks) for tasks in sets]
    return panels + [(_panel_title(t, group), frozenset(t)) for group, t in groups.items() if len(groups) > 1]


def _panel_title(tasks: Collection[str], group: str = "") -> str:
    """Return a panel's title: a single task is named; otherwise how many there are, of which group, on which data."""
    if len(tasks) == 1:
        return short_name(next(iter(tasks))).replace(GENERATED, f"\n{GENERATED.strip()}")
    generated = sum(task.endswith(GENERATED) for task in tasks)
    data = {0: "", len(tasks): f"\n{GENERATED.strip()}"}.get(generated, "\n(some on generated data)")
    parts = spelled(tasks)
    if len(parts) == 1 and not group:
        return parts[0].replace("-navigate", "").replace("-play", "").replace(GENERATED, data)
    return f"{short_name(group)} ({len(tasks)}){data}" if group else f"{len(tasks)} tasks{data}"


def _bars_of(scores: pd.DataFrame, tasks: frozenset[str], published: bool) -> pd.DataFrame:
    """Means over a panel's tasks: mean, low, high, published (NaN where there is none), by agent."""
    own = statistics.overall_means(over(scores, tasks)).set_index("agent")[["mean", "low", "high"]].astype(float)
    # An agent whose published curves were imported has its bar already, with an interval.
    run = set(scores["agent"])
    theirs = {
        agent: mean
        for agent, mean in (published_figures.means(tasks) if published else {}).items()
        if agent in run or f"{agent} ({IMPORTED})" not in run
    }
    return own.reindex([*own.index, *(agent for agent in theirs if agent not in own.index)]).assign(
        published=lambda table: [theirs.get(agent, np.nan) for agent in table.index]
    )


def draw_bars(
    evaluations: pd.DataFrame, highlight: str, look: Looks, published: bool = False, last: int = 1
) -> Drawing:
    """Success by agent, over all tasks and by group of tasks, with 95% intervals; agents ordered by their mean.

    Published means are diamonds beside one's own bars, and hollow bars where there is nothing of one's own.
    """
    scores = statistics.final_scores(evaluations, last)
    panels = _bar_panels(scores)
    bars = [_bars_of(scores, tasks, published) for _, tasks in panels]
    overall = bars[0]
    most = float(np.nanmax([0.05, *(table[["mean", "high", "published"]].max().max() for table in bars)]))
    # The published mean orders all agents where it is shown: an agent run on few tasks would else be misplaced.
    shown = overall["mean"].fillna(overall["published"])
    agents = list(shown.sort_values(ascending=False, kind="stable").index)
    others = {*scores["agent"], *(agent for table in bars for agent in table.index)} - set(agents)
    agents += agents_in_order(others)
    columns = min(6, len(panels))
    rows = math.ceil(len(panels) / columns)
    width = WIDTH if columns <= 2 else TEXT_WIDTH
    with styled():
        height = rows * (0.4 + 0.125 * max(len(agents), 3)) + (0.25 if published else 0.1)
        height += 0.15 * any("\n" in title for title, _ in panels)
        figure, axes = new_figure(height, rows, columns, width, sharey=True)
        for axis, (title, _), table in zip(axes.flat, panels, bars, strict=False):
            _bars(axis, table.reindex(agents), [look[a].colour for a in agents], agents.index(highlight), most)
            axis.set_title(title, fontsize=fitting_size(max(title.split("\n"), key=len), 28 if columns <= 2 else 20))
            axis.set_xlabel("success, %" if axis in axes[-1] else "")
        for axis in axes[:, 0]:
            axis.set_yticks(range(len(agents)), [agent_text(agent) for agent in agents])
            axis.set_ylim(len(agents) - 0.4, -0.6)
            axis.get_yticklabels()[agents.index(highlight)].set_fontweight("bold")
        for axis in axes.flat[len(panels) :]:
            axis.set_visible(False)
        if published:
            imported = scores["agent"].str.endswith(f"({IMPORTED})")
            ours = "ours" if not imported.any() else ("imported" if imported.all() else "ours, † imported")
            ran = [table["mean"][table["published"].notna()].notna() for table in bars]
            beside, alone = any(has.any() for has in ran), not all(has.all() for has in ran)
            _published_legend(figure, ours if len(scores) else "", beside, alone)
    return Drawing("bars", figure, _bars_caption(scores, published, last))


def _bars_caption(scores: pd.DataFrame, published: bool, last: int) -> str:
    """Say what the bars are."""
    own = f"In percent. {statistics.caption(last, scores)}" if len(scores) else "Success in percent."
    theirs = "Published: means that the methods' authors reported, see results/published/README.md."
    return f"{own} {theirs if published else ''}".strip()


def _bars(axis: Axes, bars: pd.DataFrame, colours: list[str], highlight: int, highest: float) -> None:
    """Draw one panel of horizontal bars; rows of `bars` in order from the top, a dash where there is no figure.

    The scale goes up to the highest figure of all panels.
    """
    places = np.arange(len(bars))
    if len(bars) > CROWD:
        colours = [colours[i] if i == highlight else QUIET for i in places]
    theirs = bars["mean"].isna() & bars["published"].notna()
    axis.barh(places, bars["mean"], height=0.72, color=colours, linewidth=0)
    axis.barh(
        places[theirs],
        bars["published"][theirs],
        height=0.72,
        facecolor="white",
        edgecolor=[colours[i] for i in places[theirs]],
        hatch="//////",
        linewidth=0.7,
    )
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
    _in_percent(axis.xaxis)
    steps = [0.01, 0.02, 0.05, 0.1, 0.2, 0.25, 0.5]
    step = next(step for step in steps if highest / step <= 4)
    axis.set_xticks(np.arange(0, min(1, 1.26 * highest) + 1e-9, step))
    axis.set_xlim(0, 1.26 * highest)
    axis.grid(axis="y", visible=False)
    axis.tick_params(axis="y", length=0)


def _published_legend(figure: Figure, ours: str, beside: bool, alone: bool) -> None:
    """Say which marks are published means.

    Args:
        figure: the figure.
        ours: what the filled bars are; empty where there are none.
        beside: whether some published means stand beside filled bars.
        alone: whether some stand alone.
    """
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles: list[Any] = [Patch(facecolor=QUIET, label=ours)] if ours else []
    if beside:
        marker = Line2D([], [], marker="D", color="none", markerfacecolor="white", markeredgecolor=INK, markersize=3)
        marker.set_label("published, beside ours")
        handles.append(marker)
    if alone:
        handles.append(Patch(facecolor="white", edgecolor=QUIET, hatch="//////", label="published"))
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), handlelength=1.4)


def draw_profiles(scores: pd.DataFrame, highlight: str, look: Looks, last: int = 1) -> Drawing:
    """Performance profiles: the share of (task, seed) scores above each threshold."""
    profiles = {agent: rows for agent, rows in statistics.performance_profiles(scores).groupby("agent")}
    agents = agents_in_order(profiles)
    named = agents if len(agents) <= CROWD else _best(scores, agents, highlight)
    with styled():
        figure, axes = new_figure(2.2 + 0.15 * math.ceil(len(named) / 3))
        axis = axes[0, 0]
        for agent in agents:
            rows = profiles[agent]
            if agent in named:
                line = {"color": look[agent].colour, "linestyle": look[agent].dash, "zorder": 3}
                axis.plot(rows["threshold"], rows["fraction"], **line, linewidth=1.3 if agent == highlight else 0.9)
                axis.fill_between(rows["threshold"], rows["low"], rows["high"], color=line["color"], alpha=0.15, lw=0)
            else:
                axis.plot(rows["threshold"], rows["fraction"], color="#D5D8DB", linewidth=0.6, zorder=1)
        axis.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="success $\\tau$, %", ylabel="share of runs above $\\tau$, %")
        _in_percent(axis.xaxis, axis.yaxis)
        _legend(figure, named, look)
    rest = "" if len(named) == len(agents) else " The best agents are named, the others grey."
    text = f"Performance profiles. {statistics.caption(last, scores)}{rest}"
    return Drawing("performance_profiles", figure, text)


def _best(scores: pd.DataFrame, agents: Sequence[str], highlight: str) -> list[str]:
    """Return the highlighted agent and the best others, `CROWD` - 1 in all, in the tables' order."""
    means = statistics.overall_means(scores).set_index("agent")["mean"].drop(highlight).sort_values(ascending=False)
    return agents_in_order([highlight, *means.index[: CROWD - 2]])


def draw_aggregates(scores: pd.DataFrame, highlight: str, look: Looks, last: int = 1) -> Drawing:
    """Interquartile mean, mean and optimality gap with 95% intervals, agents ordered by the first."""
    table = statistics.aggregate(scores, ["iqm", "mean", "optimality_gap"])
    iqm = table[table["statistic"] == "iqm"].set_index("agent")
    agents = list(iqm["value"].sort_values(ascending=False, kind="stable").index)
    titles = {"iqm": "IQM, %", "mean": "mean, %", "optimality_gap": "optimality\ngap, % (↓)"}
    with styled():
        figure, axes = new_figure(0.55 + 0.13 * max(len(agents), 3), 1, 3, sharey=True)
        for axis, (statistic, title) in zip(axes[0], titles.items(), strict=True):
            rows = table[table["statistic"] == statistic].set_index("agent").loc[agents]
            for place, agent in enumerate(agents):
                quiet = len(agents) > CROWD and agent != highlight
                colour = "#6F767D" if quiet else look[agent].colour
                low, high, value = rows.loc[agent, ["low", "high", "value"]].astype(float)
                if np.isfinite(low):
                    axis.plot([low, high], [place, place], color=colour, linewidth=4, alpha=0.4, solid_capstyle="butt")
                axis.plot([value], [place], "|", color=colour, markersize=6, markeredgewidth=1.6)
            axis.set_title(title, fontsize=6.5)
            axis.xaxis.set_major_locator(_few_ticks())
            _in_percent(axis.xaxis)
            axis.grid(axis="y", visible=False)
        axes[0, 0].set_yticks(range(len(agents)), [agent_text(agent) for agent in agents])
        axes[0, 0].set_ylim(len(agents) - 0.4, -0.6)
        axes[0, 0].get_yticklabels()[agents.index(highlight)].set_fontweight("bold")
    return Drawing("aggregates", figure, f"Aggregates over tasks. {statistics.caption(last, scores)}")


def draw_improvement(scores: pd.DataFrame, highlight: str, look: Looks, last: int = 1) -> Drawing:
    """Chance that the highlighted agent scores above each other one on a task drawn at random, with intervals."""
    others = [agent for agent in agents_in_order(scores["agent"]) if agent != highlight]
    table = statistics.probability_of_improvement(scores, [(highlight, other) for other in others])
    table = table.sort_values("value", ascending=False, kind="stable").reset_index(drop=True)
    colour = look[highlight].colour
    with styled():
        figure, axes = new_figure(0.5 + 0.14 * max(len(table), 2))
        axis = axes[0, 0]
        axis.axvline(0.5, color=INK, linewidth=0.8, linestyle=(0, (3, 2)))
        axis.hlines(table.index, table["low"], table["high"], color=colour, linewidth=4, alpha=0.4)
        axis.plot(table["value"], table.index, "|", color=colour, markersize=6, markeredgewidth=1.6)
        axis.set_yticks(table.index, [agent_text(y) for y in table["y"]])
        axis.set(xlim=(0, 1), ylim=(len(table) - 0.4, -0.6))
        axis.set_xlabel(f"P({agent_text(highlight)} > agent at the left), %")
        _in_percent(axis.xaxis)
        axis.grid(axis="y", visible=False)
    text = f"Probability that {label(highlight)} scores above each other agent on a random task, ties counting half."
    return Drawing("improvement", figure, f"{text} {statistics.caption(last, scores)}")


def draw_improvement_matrix(scores: pd.DataFrame, last: int = 1) -> Drawing:
    """Heat map of the probability of improvement of every agent (row) over every other (column)."""
    import seaborn

    agents = list(statistics.overall_means(scores).sort_values("mean", ascending=False, kind="stable")["agent"])
    # Values alone are drawn here; the intervals are in the other figure and two repetitions cost nothing.
    table = statistics.probability_of_improvement(scores, repetitions=2)
    matrix = table.pivot(index="x", columns="y", values="value").reindex(index=agents, columns=agents)
    names = [agent_text(agent) for agent in agents]
    few = len(agents) <= 8
    with styled():
        figure, axes = new_figure(2.95 if len(agents) > 4 else 2.4)
        seaborn.heatmap(
            100 * matrix,
            ax=axes[0, 0],
            vmin=0,
            vmax=100,
            cmap="vlag",  # Even steps of lightness on both sides of 50.
            square=True,
            annot=few,
            fmt=".0f",
            annot_kws={"fontsize": 6},
            linewidths=0.4,
            xticklabels=names,
            yticklabels=names,
            cbar_kws={"shrink": 0.7, "label": "P(row > column), %"},
        )
        axes[0, 0].set(xlabel="", ylabel="", title="Probability of improvement")
        axes[0, 0].grid(False)
        axes[0, 0].tick_params(length=0, labelsize=6.5 if few else 5.5)
        axes[0, 0].tick_params(axis="x", rotation=90)
        axes[0, 0].tick_params(axis="y", rotation=0)
    text = "Probability that the agent of the row scores above that of the column on a random task, ties counting half."
    return Drawing("improvement_matrix", figure, f"{text} {statistics.caption(last, scores)}")


def costs(evaluations: pd.DataFrame, runs: pd.DataFrame) -> pd.DataFrame:
    """Mean hours that one seed of one task took: agent, hours, device ("GPU", "CPU" or "device").

    The seeds of a run train together; each is charged an equal share of the run's training and evaluation time.
    """
    import pandas as pd

    pairs = evaluations[["run", "agent", "task"]].drop_duplicates()
    known = pairs.merge(runs[["run", "seeds", "train_seconds", "eval_seconds", "device"]], on="run")
    # A run's time is None, and not 0, where it is not known.
    for name in ("train_seconds", "eval_seconds"):
        known[name] = pd.to_numeric(known[name])
    known["hours"] = (known["train_seconds"] + known["eval_seconds"]) / known["seeds"].map(len) / 3600
    known = known.dropna(subset="hours")
    per_task = known.groupby(["agent", "task"], as_index=False)["hours"].mean()
    kinds = known["device"].map(lambda text: text.partition(":")[0]).unique()
    kind = {"gpu": "GPU", "cpu": "CPU"}.get(kinds[0], "device") if len(kinds) == 1 else "device"
    return per_task.groupby("agent", as_index=False)["hours"].mean().assign(device=kind)


def draw_cost(scores: pd.DataFrame, hours: pd.DataFrame, highlight: str, look: Looks, last: int = 1) -> Drawing:
    """Mean success against the hours that a seed took; `hours` as `costs` gives them."""
    table = statistics.overall_means(scores).merge(hours, on="agent").sort_values("mean", ascending=False)
    device = table["device"].iloc[0]
    units = {"hours": 1, "minutes": 60, "seconds": 3600}
    unit = next((unit for unit, many in units.items() if table["hours"].median() * many >= 1), "seconds")
    table["time"] = table["hours"] * units[unit]
    with styled():
        figure, axes = new_figure(max(2.3, 0.4 + 0.115 * len(table)))
        axis = axes[0, 0]
        axis.set_xscale("log")
        for row in table.itertuples():
            quiet = len(table) > CROWD and row.agent != highlight
            colour = "#6F767D" if quiet else look[row.agent].colour
            errors = [[row.mean - row.low], [row.high - row.mean]] if np.isfinite(row.low) else None
            axis.errorbar(row.time, row.mean, errors, fmt="o", color=colour, markersize=3.5, elinewidth=0.8, **CAPS)
        _time_axis(axis, table["time"])
        axis.set(xlabel=f"{device} {unit} per seed and task", ylabel="success, %, mean over tasks")
        highest = table["high"].fillna(table["mean"]).max()
        _success_limits(axis, highest)
        _names_at_the_right(axis, table, {a: look[a].colour if a == highlight else INK for a in table["agent"]})
    text = "Success against cost; the seeds of a run share its training and evaluation time."
    return Drawing("cost", figure, f"{text} {statistics.caption(last, scores)}")


def _time_axis(axis: Axes, times: pd.Series) -> None:
    """Plain numbers at 1, 2 and 5 of each power of ten (or at these powers alone), at least a factor of six wide."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    low, high = times.min(), times.max()
    widen = max(1.3, 2.5 / math.sqrt(high / low))
    low, high = low / widen, high * widen
    powers = 10.0 ** np.arange(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks = np.outer(powers, [1, 2, 5] if high / low < 1000 else [1]).ravel()
    axis.xaxis.set_major_locator(FixedLocator(ticks[(ticks >= low) & (ticks <= high)].tolist()))
    axis.xaxis.set_minor_locator(NullLocator())
    axis.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    axis.set_xlim(low, high)


def _names_at_the_right(axis: Axes, table: pd.DataFrame, colours: dict[str, str]) -> None:
    """Name points in a list beside the axes, in their order and without overlap, each joined to its point."""
    low, high = axis.get_ylim()
    wanted = (table["mean"].to_numpy() - low) / (high - low)
    height = axis.get_figure().get_figheight() - 0.4  # type: ignore[union-attr]
    for place, row in zip(spread(wanted, gap=min(0.105 / height, 1 / len(table))), table.itertuples(), strict=True):
        colour = colours[row.agent]
        axis.annotate(
            agent_text(row.agent),
            xy=(row.time, row.mean),
            xytext=(1.06, place),
            textcoords="axes fraction",
            fontsize=6,
            va="center",
            color=colour,
            arrowprops={"arrowstyle": "-", "color": colour, "lw": 0.3, "alpha": 0.6, "shrinkA": 1, "shrinkB": 2},
        )


def spread(wanted: np.ndarray, gap: float) -> np.ndarray:
    """Return places in [0, 1], at least `gap` apart, near the wanted ones (which fall); for labels of points."""
    places = np.array(wanted, dtype=float)
    for i in range(1, len(places)):
        places[i] = min(places[i], places[i - 1] - gap)
    for i in range(len(places) - 1, -1, -1):
        floor = 0.0 if i == len(places) - 1 else places[i + 1] + gap
        places[i] = max(places[i], floor)
    return places


DAMAGED = (zipfile.BadZipFile, zlib.error, NotImplementedError, MemoryError, RuntimeError)
"""What reading a damaged .npz may raise, beside errors of values and of the system."""


def read_reversal(path: str | Path) -> dict[str, Any]:
    """Read a reversal file (the module's text says what is in it) and check its shapes.

    Raises:
        UserError: no such file, not an .npz of plain arrays, or arrays of another shape.
    """
    try:
        with np.load(path, allow_pickle=False) as content:
            arrays = {name: content[name] for name in content.files}
    except FileNotFoundError:
        raise UserError(f"no file '{path}'; a reversal file is an .npz with arrays forward and reversed") from None
    except (OSError, ValueError, EOFError, AttributeError, *DAMAGED) as error:
        raise UserError(f"{path} is no .npz of plain arrays: {error}") from None
    for name in ("forward", "reversed"):
        shape = arrays[name].shape if name in arrays else None
        if shape is None or len(shape) != 3 or shape[0] < 1 or shape[1] < 2 or shape[2] != 2:
            raise UserError(f"{path}: '{name}' must have shape (n, F+1, 2), not {shape}")
        if not np.issubdtype(arrays[name].dtype, np.floating) or not np.isfinite(arrays[name]).all():
            raise UserError(f"{path}: '{name}' must hold finite floating-point numbers")
    coordinates = arrays.get("coordinates", np.array([0, 1]))
    if coordinates.shape != (2,) or not np.issubdtype(coordinates.dtype, np.integer):
        raise UserError(f"{path}: 'coordinates' must be two whole numbers")
    return arrays


def draw_reversal(arrays: dict[str, Any], most: int = 60) -> Drawing:
    """What flow reversal does: trajectories from noise to actions, and from the dataset's actions back to noise.

    Args:
        arrays: as `read_reversal` gives them.
        most: at most so many trajectories are drawn.
    """
    steps = arrays["forward"].shape[1] - 1
    coordinates = [int(c) for c in arrays.get("coordinates", (0, 1))]
    panels = {
        "forward": ("flow: noise to actions", arrays["forward"], ("noise", "action")),
        "reversed": ("reversed: data to noise", arrays["reversed"], ("data action", "noise")),
    }
    span = np.concatenate([arrays["forward"].reshape(-1, 2), arrays["reversed"].reshape(-1, 2)])
    radius = 1.05 * float(np.abs(span).max())
    with styled():
        figure, axes = new_figure(2.15, 1, 2, sharex=True, sharey=True)
        for axis, (title, paths, ends) in zip(axes[0], panels.values(), strict=True):
            paths = paths[:: max(1, math.ceil(len(paths) / most))]
            _trajectories(axis, paths, ends)
            axis.set(title=title, xlim=(-radius, radius), ylim=(-radius, radius), aspect="equal")
            axis.set_xlabel(f"action coordinate {coordinates[0]}")
        axes[0, 0].set_ylabel(f"action coordinate {coordinates[1]}")
        handles = [axes[0, 0].get_legend_handles_labels(), axes[0, 1].get_legend_handles_labels()]
        named = {name: handle for pair in handles for handle, name in zip(*pair, strict=True)}
        figure.legend(named.values(), named.keys(), loc="outside lower center", ncols=3, handletextpad=0.2)
    whose = " ".join(str(arrays[name]) for name in ("agent", "task") if name in arrays)
    text = f"Trajectories of a trained flow policy in {steps} steps at one observation{': ' if whose else ''}{whose}."
    text += " Left, forward from noise; right, backward from the dataset's actions."
    return Drawing("reversal", figure, text)


def _trajectories(axis: Axes, paths: np.ndarray, ends: tuple[str, str]) -> None:
    """Draw paths of shape (n, F+1, 2) from their first points to their last ones."""
    looks_of_ends: dict[str, Any] = {
        "noise": {"color": BLUE, "marker": "o"},
        "action": {"color": VERMILLION, "marker": "^"},
        "data action": {"color": BLACK, "marker": "s"},
    }
    axis.plot(paths[:, :, 0].T, paths[:, :, 1].T, color="#9AA0A6", linewidth=0.4, zorder=1)
    for name, points in zip(ends, (paths[:, 0], paths[:, -1]), strict=True):
        axis.scatter(points[:, 0], points[:, 1], s=5, linewidth=0, label=name, zorder=2, **looks_of_ends[name])


def drawings(
    evaluations: pd.DataFrame,
    runs: pd.DataFrame | None = None,
    published: bool = False,
    highlight: str | None = None,
    last: int = 1,
) -> Iterator[Drawing]:
    """Yield every figure that the data supports: even one evaluation of one seed gives bars and a curve.

    Args:
        evaluations: what may be averaged (`analysis.load.comparable`).
        runs: the runs frame, for the cost; without it that figure is left out.
        published: show the published means too.
        highlight: the agent that stands out; RQL by default.
        last: 1 for the final step, 3 for the mean of the last three evaluations.
    """
    imported = evaluations["agent"].str.endswith(f"({IMPORTED})").any()
    for draw in bar(_plan(evaluations, runs, published, highlight, last), "figures", fewest=2):
        drawing = draw()
        yield _with(f"†: {IMPORTED}, imported.", drawing) if imported else drawing


def _with(text: str, drawing: Drawing) -> Drawing:
    """The drawing with more in its caption."""
    return replace(drawing, caption=f"{drawing.caption} {text}".rstrip())


def _left_out(everybody: Sequence[str], there: Sequence[str]) -> str:
    """Say who is not in a figure, as it was run on other tasks."""
    names = ", ".join(label(agent) for agent in everybody if agent not in there)
    return f"Left out, as not run on all of these tasks: {names}." if names else ""


def everybody(evaluations: pd.DataFrame, published: bool) -> list[str]:
    """The agents that figures show, published ones included."""
    return agents_in_order([*evaluations["agent"], *(published_figures.by_domain()["agent"] if published else ())])


def _plan(
    evaluations: pd.DataFrame, runs: pd.DataFrame | None, published: bool, highlight: str | None, last: int
) -> list[Callable[[], Drawing]]:
    """The figures that the data supports, to be drawn one after the other; arguments as `drawings`'."""
    evaluations = evaluations[evaluations["success"].notna()]
    own = agents_in_order(evaluations["agent"])
    known = everybody(evaluations, published)
    if not known:
        return []
    chosen, look = choose_highlight(known, highlight), looks(known)
    plan: list[Callable[[], Drawing]] = [partial(draw_bars, evaluations, chosen, look, published, last)]
    if not own:
        return plan
    chosen = chosen if chosen in own else choose_highlight(own, None)
    common = shared(evaluations)
    there = agents_in_order(common["agent"])
    text = f"Over {set_name(set(common['task']))}. {_left_out(own, there)}"

    def averaged(draw: Callable[..., Drawing], *arguments: Any) -> None:
        plan.append(lambda: _with(text, draw(*arguments)))

    if len(own) <= CROWD:
        plan.append(partial(draw_learning_curves, evaluations, look))
    else:
        chosen = chosen if chosen in there else choose_highlight(there, None)
        averaged(draw_learning_curves_by_agent, common, chosen, look)
        plan.append(partial(draw_learning_curves_by_domain, evaluations, chosen, look))
    scores = statistics.final_scores(common, last)
    chosen = chosen if chosen in there else choose_highlight(there, None)
    # On a single task these would say again, of a handful of scores, what the bars say.
    if len(there) > 1 and scores["task"].nunique() > 1:
        averaged(draw_aggregates, scores, chosen, look, last)
        averaged(draw_profiles, scores, chosen, look, last)
        averaged(draw_improvement, scores, chosen, look, last)
        averaged(draw_improvement_matrix, scores, last)
    hours = costs(common, runs) if runs is not None else None
    if hours is not None and (hours["hours"] > 0).any():
        averaged(draw_cost, scores, hours[hours["hours"] > 0], chosen, look, last)
    return plan


def save(made: Iterable[Drawing], out_dir: str | Path) -> list[Path]:
    """Write each figure as PDF and PNG, and `figure_captions.md`; return the paths, none where there is nothing."""
    folder = Path(out_dir)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        paths: list[Path] = []
        captions: list[str] = []
        for drawing in made:
            paths += drawing.save(folder)
            captions.append(f"* **{drawing.name}**: {markdown(drawing.caption)}\n")
        if captions:
            paths.append(folder / "figure_captions.md")
            paths[-1].write_text("".join(captions), encoding="utf-8")
    except OSError as error:
        raise UserError(f"cannot write to {folder}: {error.strerror or error}") from error
    return paths


def write_figures(
    evaluations: pd.DataFrame,
    out_dir: str | Path,
    runs: pd.DataFrame | None = None,
    published: bool = False,
    highlight: str | None = None,
    last: int = 1,
    reversal: str | Path | None = None,
) -> list[Path]:
    """Write every figure that the data supports; see `drawings` and `save`."""
    made = [draw_reversal(read_reversal(reversal))] if reversal else []
    return save(itertools.chain(made, drawings(evaluations, runs, published, highlight, last)), out_dir)


def parser() -> Parser:
    """The command line's options."""
    parser = Parser(prog="python -m analysis.figures", description="Draw the results.")
    parser.add_argument("--runs", nargs="+", default=[], metavar="DIR", help="folders that hold runs")
    parser.add_argument("--published", action="store_true", help="show the published means too")
    parser.add_argument("--archive", metavar="FILE", help="the QAM archive: its curves beside them")
    parser.add_argument("--agents", help="only these, with commas between")
    parser.add_argument("--diverged", default="zero", help="zero (default): success 0 from there on; or exclude")
    parser.add_argument("--highlight", metavar="AGENT", help="the agent that stands out (default: rql)")
    parser.add_argument("--last", default="1", help="1: final step; 3: mean of the last three evaluations")
    parser.add_argument("--reversal", metavar="FILE", help="a reversal file (see the module's text)")
    parser.add_argument("--out", required=True, metavar="DIR", help="folder for the figures")
    return parser


def main(arguments: list[str] | None = None) -> None:
    """Run the command line."""
    options = parser().parse_args(arguments)
    if not (options.runs or options.published or options.archive or options.reversal):
        raise UserError("nothing to draw: give --runs, --published, --archive or --reversal")
    check_choice("policy for diverged seeds", options.diverged, ["zero", "exclude"])
    options.last = whole_number("--last", options.last)
    folder("--out", options.out)
    for place in options.runs:
        input_folder("--runs", place)
    for what in ("archive", "reversal"):
        if file := getattr(options, what):
            input_file(f"--{what}", file)
    if options.reversal:
        read_reversal(options.reversal)
    from analysis.load import comparable, load_runs

    runs = load_runs(*options.runs)
    selection = comparable(runs, diverged=options.diverged)
    if options.archive:
        from analysis.import_archive import beside

        selection = beside(selection, options.archive)
    for note in selection.notes:
        print(f"note: {printable(note)}")
    evaluations = selection.evaluations
    if options.agents:
        known = agents_in_order(evaluations["agent"])
        chosen = [check_choice("agent", agent, known) for agent in names("--agents", options.agents)]
        evaluations = evaluations[evaluations["agent"].isin(chosen)]
    if options.highlight:
        choose_highlight(everybody(evaluations, options.published), options.highlight)
    paths = write_figures(
        evaluations,
        options.out,
        runs.runs,
        options.published,
        options.highlight,
        options.last,
        options.reversal,
    )
    if not paths:
        raise UserError(f"no finished run under {', '.join(options.runs)}: nothing to draw")
    for path in paths:
        print(path)


if __name__ == "__main__":
    run_main(main)
