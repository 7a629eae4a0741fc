"""Aggregates over tasks (Agarwal et al., arXiv 2108.13264): means, profiles, and which agent is probably better."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import seaborn
from matplotlib.ticker import MaxNLocator

from analysis.averaging import statistics
from analysis.averaging.results import Results
from analysis.drawing.axes import in_percent, legend, name_rows
from analysis.drawing.style import CROWD, INK, Drawing, Looks, agent_text, new_figure, styled
from analysis.names import agents_in_order, label


def draw_aggregates(results: Results, highlight: str, look: Looks) -> Drawing:
    """Interquartile mean, mean and optimality gap with 95% intervals, agents ordered by the first."""
    table = statistics.aggregate(results.scores, ["iqm", "mean", "optimality_gap"])
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
            axis.xaxis.set_major_locator(MaxNLocator(2))
            in_percent(axis.xaxis)
            axis.grid(axis="y", visible=False)
        name_rows(axes[0, 0], agents, highlight)
    return Drawing("aggregates", figure, f"Aggregates over tasks. {results.caption}")


def draw_improvement(results: Results, highlight: str, look: Looks) -> Drawing:
    """Chance that the highlighted agent scores above each other one on a task drawn at random, with intervals."""
    others = [agent for agent in agents_in_order(results.scores["agent"]) if agent != highlight]
    table = statistics.probability_of_improvement(results.scores, [(highlight, other) for other in others])
    table = table.sort_values("value", ascending=False, kind="stable").reset_index(drop=True)
    colour = look[highlight].colour
    with styled():
        figure, axes = new_figure(0.5 + 0.14 * max(len(table), 2))
        axis = axes[0, 0]
        axis.axvline(0.5, color=INK, linewidth=0.8, linestyle=(0, (3, 2)))
        axis.hlines(table.index, table["low"], table["high"], color=colour, linewidth=4, alpha=0.4)
        axis.plot(table["value"], table.index, "|", color=colour, markersize=6, markeredgewidth=1.6)
        name_rows(axis, list(table["y"]))
        axis.set(xlim=(0, 1), xlabel=f"P({agent_text(highlight)} > agent at the left), %")
        in_percent(axis.xaxis)
        axis.grid(axis="y", visible=False)
    text = f"Probability that {label(highlight)} scores above each other agent on a random task, ties counting half."
    return Drawing("improvement", figure, f"{text} {results.caption}")


def draw_improvement_matrix(results: Results) -> Drawing:
    """Heat map of the probability of improvement of every agent (row) over every other (column)."""
    agents = list(statistics.overall_means(results.scores).sort_values("mean", ascending=False, kind="stable")["agent"])
    # Values alone are drawn here; the intervals are in the other figure and two repetitions cost nothing.
    table = statistics.probability_of_improvement(results.scores, repetitions=2)
    matrix = table.pivot(index="x", columns="y", values="value").reindex(index=agents, columns=agents)
    names = [agent_text(agent) for agent in agents]
    few = len(agents) <= 8
    with styled():
        figure, axes = new_figure(2.95 if len(agents) > 4 else 2.4)
        text: dict[str, Any] = {"annot": few, "fmt": ".0f", "annot_kws": {"fontsize": 6}}
        text |= {"xticklabels": names, "yticklabels": names}
        bar = {"shrink": 0.7, "label": "P(row > column), %"}
        # This map has even steps of lightness on both sides of 50.
        colours: dict[str, Any] = {"vmin": 0, "vmax": 100, "cmap": "vlag", "linewidths": 0.4, "cbar_kws": bar}
        seaborn.heatmap(100 * matrix, ax=axes[0, 0], square=True, **colours, **text)
        axes[0, 0].set(xlabel="", ylabel="", title="Probability of improvement")
        axes[0, 0].grid(False)
        axes[0, 0].tick_params(length=0, labelsize=6.5 if few else 5.5)
        axes[0, 0].tick_params(axis="x", rotation=90)
        axes[0, 0].tick_params(axis="y", rotation=0)
    said = "Probability that the agent of the row scores above that of the column on a random task, ties counting half."
    return Drawing("improvement_matrix", figure, f"{said} {results.caption}")


def draw_profiles(results: Results, highlight: str, look: Looks) -> Drawing:
    """Performance profiles: the share of (task, seed) scores above each threshold."""
    profiles = {agent: rows for agent, rows in statistics.performance_profiles(results.scores).groupby("agent")}
    agents = agents_in_order(profiles)
    named = agents if len(agents) <= CROWD else _best(results.scores, agents, highlight)
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
        in_percent(axis.xaxis, axis.yaxis)
        legend(figure, named, look)
    rest = "" if len(named) == len(agents) else " The best agents are named, the others grey."
    text = f"Performance profiles. {results.caption}{rest}"
    return Drawing("performance_profiles", figure, text)


def _best(scores: pd.DataFrame, agents: Sequence[str], highlight: str) -> list[str]:
    """Return the highlighted agent and the best others, `CROWD` - 1 in all, in the tables' order."""
    means = statistics.overall_means(scores).set_index("agent")["mean"].drop(highlight).sort_values(ascending=False)
    return agents_in_order([highlight, *means.index[: CROWD - 2]])
