"""Performance profiles (Agarwal et al., arXiv 2108.13264): the share of runs above each threshold."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pandas as pd

from analysis.averaging import statistics
from analysis.averaging.results import Results
from analysis.drawing.axes import in_percent, legend
from analysis.drawing.style import CROWD, Drawing, Looks, new_figure, styled
from analysis.names import agents_in_order


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
