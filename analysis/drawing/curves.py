"""Learning curves: success against updates, by task or domain for a few agents, by agent and by domain for many."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from analysis.averaging import statistics
from analysis.averaging.task_sets import shared
from analysis.drawing.axes import left_out, legend, panel_title, steps_axis, success_limits
from analysis.drawing.style import INK, Drawing, Look, Looks, agent_text, fitting_size, new_figure, styled
from analysis.names import DOMAINS, agents_in_order, in_order, label

MOST_TASKS = 6
"""A panel a task up to so many tasks, a panel a domain where there are more."""
MOST_MARKERS = 30
"""A curve of more points than this has no markers: they would hide it."""


def curve(axis: Axes, rows: pd.DataFrame, look: Look, band: bool = True, **line: Any) -> None:
    """Draw one mean curve with a marker at each evaluation, and its interval where it has one and `band` is true."""
    line = {"marker": "o" if len(rows) <= MOST_MARKERS else "", "markersize": 2.5} | line
    axis.plot(rows["step"], rows["mean"], color=look.colour, linestyle=look.dash, **line)
    if band and len(rows) == 1:
        axis.vlines(rows["step"], rows["low"], rows["high"], color=look.colour, linewidth=0.8)
    elif band:
        axis.fill_between(rows["step"], rows["low"], rows["high"], color=look.colour, alpha=0.18, linewidth=0)


def seed_curves(axis: Axes, rows: pd.DataFrame, look: Look) -> None:
    """Draw every seed as a thin line."""
    for _, own in rows.sort_values("step").groupby("seed"):
        axis.plot(own["step"], own["success"], color=look.colour, linewidth=0.4, alpha=0.7, marker=".", markersize=1.5)


def _without_curve(evaluations: pd.DataFrame, curves: pd.DataFrame, by: str = "") -> str:
    """Say who has no curve, at all or in a group `by`, which needs steps at which all of its tasks were evaluated."""
    keys = ["agent", *([by] if by else [])]
    drawn = set(curves[keys].itertuples(index=False, name=None))
    asked = evaluations[keys].drop_duplicates().sort_values(keys[::-1]).itertuples(index=False, name=None)
    names = [" in ".join([label(agent), *group]) for agent, *group in asked if (agent, *group) not in drawn]
    return f"Left out, as their tasks have no evaluation step in common: {', '.join(names)}." if names else ""


def draw_learning_curves(evaluations: pd.DataFrame, look: Looks) -> Drawing:
    """Success against gradient steps for a few agents: one panel per task, or per domain where tasks are many.

    Up to five seeds of one task are thin lines; otherwise a band is the 95% interval of the mean.
    """
    by: Any = "task" if evaluations["task"].nunique() <= MOST_TASKS else "domain"
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
        figure, axes = new_figure(height, rows, columns, shown=len(groups), sharex=len(groups) > 1)
        for axis, group in zip(axes.flat, groups, strict=False):
            of_group = curves[curves[by] == group]
            highest = (of_group["mean"] if each_seed else of_group["high"].fillna(of_group["mean"])).max()
            for agent in agents:
                mine = evaluations[(evaluations["agent"] == agent) & (evaluations[by] == group)]
                if each_seed and len(mine):
                    seed_curves(axis, mine, look[agent])
                    highest = max(highest, mine["success"].max())
                curve(axis, of_group[of_group["agent"] == agent], look[agent], band=not each_seed, linewidth=1.0)
            title = panel_title(set(evaluations["task"][evaluations[by] == group]), group)
            axis.set_title(title, fontsize=fitting_size(max(title.split("\n"), key=len), 28 if columns > 1 else 60))
            axis.set_ylabel("success, %" if axis in axes[:, 0] else "")
            success_limits(axis, highest)
            steps_axis(axis, evaluations["step"], named=axis in axes[-1])
        legend(figure, agents, look)
    seeds = "thin lines: single seeds" if each_seed else "band: 95% interval"
    whose = "" if by == "task" else " of the agents that have all of a panel's tasks"
    text = f"Success in percent while training, mean over seeds{whose}; {seeds}."
    drawing = Drawing("learning_curves", figure, text).saying(left_out(everybody, agents))
    return drawing.saying(_without_curve(evaluations, curves, by))


def draw_learning_curves_by_agent(evaluations: pd.DataFrame, highlight: str, look: Looks) -> Drawing:
    """Many agents' curves over all tasks: a panel per agent, the highlighted one for comparison in each."""
    agents = agents_in_order(evaluations["agent"])
    overall = statistics.learning_curves(evaluations, "overall")
    curves = {agent: rows for agent, rows in overall.groupby("agent")}
    agents = [agent for agent in agents if agent in curves]
    reference = curves.get(highlight)
    columns = 4
    rows = max(1, math.ceil(len(agents) / columns))
    with styled():
        figure, axes = new_figure(0.3 + 0.8 * rows, rows, columns, shown=len(agents), sharex=True, sharey=True)
        highest = max((curve["high"].fillna(curve["mean"]).max() for curve in curves.values()), default=1.0)
        for axis, agent in zip(axes.flat, agents, strict=False):
            for other in agents:
                axis.plot(curves[other]["step"], curves[other]["mean"], color="#DDDDDD", linewidth=0.5, zorder=1)
            if reference is not None:
                axis.plot(reference["step"], reference["mean"], color=look[highlight].colour, linewidth=0.9, zorder=2)
            own = look[highlight] if agent == highlight else Look(INK, "-")
            curve(axis, curves[agent], own, markersize=1.5, linewidth=0.9, zorder=3)
            weight = "bold" if agent == highlight else "normal"
            axis.set_title(
                agent_text(agent), color=own.colour, fontweight=weight, fontsize=fitting_size(agent_text(agent), 13)
            )
            success_limits(axis, highest)
            steps_axis(axis, evaluations["step"], ticks=2, named=False)
        for axis in axes.flat[max(0, len(agents) - columns) : len(agents)]:  # those with no panel below them
            axis.tick_params(labelbottom=True)
        figure.supxlabel("gradient steps", fontsize=7)
        figure.supylabel("success, %, mean over tasks", fontsize=7)
    text = f"Success in percent while training, mean over tasks; in every panel {label(highlight)} is coloured "
    text += "and the other agents are grey. Band: 95% interval."
    return Drawing("learning_curves_by_agent", figure, text).saying(_without_curve(evaluations, overall))


def draw_learning_curves_by_domain(evaluations: pd.DataFrame, highlight: str, look: Looks) -> Drawing:
    """Many agents' curves in every domain: the highlighted one and the best of the others stand out."""
    evaluations = shared(evaluations, "domain")
    curves = statistics.learning_curves(evaluations, "domain")
    domains = in_order(evaluations["domain"], DOMAINS)
    columns = min(2, len(domains))
    rows = math.ceil(len(domains) / columns)
    with styled():
        figure, axes = new_figure(0.3 + 1.15 * rows, rows, columns, shown=len(domains), sharex=True)
        for axis, domain in zip(axes.flat, domains, strict=False):
            of_domain = {agent: c for agent, c in curves[curves["domain"] == domain].groupby("agent")}
            others = [agent for agent in of_domain if agent != highlight]
            for agent in others:
                axis.plot(of_domain[agent]["step"], of_domain[agent]["mean"], color="#D5D8DB", linewidth=0.6)
            best = sorted(others, key=lambda agent: -of_domain[agent]["mean"].iloc[-1])[:1]
            for agent, drawn in [*((agent, Look(INK, "-")) for agent in best), (highlight, look[highlight])]:
                if agent in of_domain:
                    curve(axis, of_domain[agent], drawn, markersize=1.8, linewidth=1.0)
            title = panel_title(set(evaluations["task"][evaluations["domain"] == domain]), domain)
            other = f"best other: {agent_text(best[0])}" if best else ""
            axis.set_title(f"{title}\n{other}".strip(), fontsize=fitting_size(max(title, other, key=len), 32, 6.5))
            axis.set_ylabel("success, %" if axis in axes[:, 0] else "")
            success_limits(axis, max((c["high"].fillna(c["mean"]).max() for c in of_domain.values()), default=1.0))
            steps_axis(axis, evaluations["step"], named=axis in axes[-1])
    text = "Success in percent while training, by domain, of the agents that have all of a panel's tasks: "
    text += f"{label(highlight)} in colour, the one that ends best among the others in black, the rest grey. "
    drawing = Drawing("learning_curves_by_domain", figure, f"{text}Band: 95% interval.")
    return drawing.saying(_without_curve(evaluations, curves, "domain"))
