"""Mean ranks over tasks with intervals, and which agents the tasks cannot tell apart (critical differences)."""

from __future__ import annotations

import numpy as np

from analysis.averaging.ranks import critical_difference, mean_ranks, not_told_apart
from analysis.averaging.results import Results
from analysis.drawing.axes import name_rows
from analysis.drawing.style import CROWD, INK, Drawing, Looks, new_figure, styled

FEWEST_TASKS = 10
"""Fewer tasks tell ranks apart by chance only."""


def draw_ranks(results: Results, highlight: str, look: Looks) -> Drawing:
    """Mean rank of each agent with its 95% interval; bars at the right join agents that are not told apart."""
    table = mean_ranks(results.scores)
    agents, tasks = list(table["agent"]), int(table["tasks"].iloc[0])
    difference = critical_difference(len(agents), tasks)
    groups = not_told_apart(table["rank"].to_numpy(), difference)
    with styled():
        figure, axes = new_figure(0.6 + 0.135 * max(len(agents), 3))
        axis = axes[0, 0]
        for place, row in enumerate(table.itertuples()):
            quiet = len(agents) > CROWD and row.agent != highlight
            colour = "#6F767D" if quiet else look[row.agent].colour
            axis.plot([row.low, row.high], [place, place], color=colour, linewidth=4, alpha=0.4, solid_capstyle="butt")
            axis.plot([row.rank], [place], "|", color=colour, markersize=6, markeredgewidth=1.6)
        right = float(table["high"].max())
        gap = 0.035 * (right - 1)
        for number, (first, last) in enumerate(groups, start=1):
            line = {"color": INK, "linewidth": 1.6, "solid_capstyle": "butt"}
            axis.plot([right + number * gap] * 2, [first - 0.3, last + 0.3], **line)
        axis.set_xlim(0.9, right + (len(groups) + 1) * gap)
        axis.set_xticks(np.unique(np.linspace(1, len(agents), min(6, len(agents))).round()))
        axis.set_xlabel(f"mean rank over {tasks} tasks, 1 the best")
        axis.grid(axis="y", visible=False)
        name_rows(axis, agents, highlight)
    text = f"Mean rank over {tasks} tasks, with the 95% interval for other tasks like these. Bars at the right join "
    text += f"agents whose ranks differ by less than {difference:.1f}, the critical difference (Nemenyi's test at 95%, "
    return Drawing("ranks", figure, text + "for all pairs at once): these tasks do not tell them apart.")
