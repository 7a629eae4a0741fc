"""Parts that figures of several kinds have: axes in percent and in updates, titles, legends, ends of intervals."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import XAxis, YAxis
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter, FixedLocator, FuncFormatter, MaxNLocator

from analysis.averaging.task_sets import spelled
from analysis.drawing.style import Looks, agent_text, short_name
from analysis.names import GENERATED, label

CAPS: dict[str, Any] = {"capsize": 1.8, "capthick": 0.8}
"""Ends of intervals, in points."""


def steps_axis(axis: Axes, steps: pd.Series, ticks: int = 4, named: bool = True) -> None:
    """Write steps as 500k or 1M."""
    axis.xaxis.set_major_formatter(EngFormatter(sep=""))
    few = steps.nunique() <= ticks
    axis.xaxis.set_major_locator(FixedLocator(sorted(steps.unique())) if few else MaxNLocator(ticks))
    if named:
        axis.set_xlabel("gradient steps")


def in_percent(*axes: XAxis | YAxis) -> None:
    """Write fractions as percent; the label says so."""
    for axis in axes:
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.4g}"))


def success_limits(axis: Axes, highest: float) -> None:
    """Let success begin a marker's radius below 0, and leave out the empty upper part."""
    top = min(1.05, max(0.1, 1.15 * highest if np.isfinite(highest) else 1.0))
    axis.set_ylim(-0.04 * top, top)
    in_percent(axis.yaxis)


def legend(figure: Figure, agents: Sequence[str], look: Looks) -> None:
    """Name the agents below the panels."""
    handles = [Line2D([], [], color=look[a].colour, linestyle=look[a].dash, linewidth=1.2) for a in agents]
    names = [agent_text(agent) for agent in agents]
    columns = next(columns for columns, most in ((3, 14), (2, 24), (1, math.inf)) if max(map(len, names)) <= most)
    figure.legend(handles, names, loc="outside lower center", ncols=min(columns, len(agents)), handlelength=2.2)


def panel_title(tasks: Collection[str], group: str = "") -> str:
    """Return a panel's title: a single task is named; otherwise how many there are, of which group, on which data."""
    if len(tasks) == 1:
        return short_name(next(iter(tasks))).replace(GENERATED, f"\n{GENERATED.strip()}")
    generated = sum(task.endswith(GENERATED) for task in tasks)
    data = {0: "", len(tasks): f"\n{GENERATED.strip()}"}.get(generated, "\n(some on generated data)")
    parts = spelled(tasks)
    if len(parts) == 1 and not group:
        return parts[0].replace("-navigate", "").replace("-play", "").replace(GENERATED, data)
    return f"{short_name(group)} ({len(tasks)}){data}" if group else f"{len(tasks)} tasks{data}"


def name_rows(axis: Axes, agents: Sequence[str], highlight: str = "") -> None:
    """Name the rows of a panel by agents, from the top."""
    axis.set_yticks(range(len(agents)), [agent_text(agent) for agent in agents])
    axis.set_ylim(len(agents) - 0.4, -0.6)
    if highlight:
        axis.get_yticklabels()[agents.index(highlight)].set_fontweight("bold")


def left_out(everybody: Sequence[str], there: Sequence[str]) -> str:
    """Say who is not in a figure, as it was run on other tasks."""
    names = ", ".join(label(agent) for agent in everybody if agent not in there)
    return f"Left out, as not run on all of these tasks: {names}." if names else ""
