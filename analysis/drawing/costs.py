"""What success cost: mean success against the hours of a seed."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from analysis.averaging.results import Results
from analysis.averaging.statistics import overall_means
from analysis.drawing.axes import CAPS, success_limits
from analysis.drawing.style import CROWD, INK, Drawing, Looks, agent_text, new_figure, styled


def draw_cost(results: Results, hours: pd.DataFrame, highlight: str, look: Looks) -> Drawing:
    """Mean success against the hours that a seed took; `hours` as `costs` gives them."""
    table = overall_means(results.scores).merge(hours, on="agent").sort_values("mean", ascending=False)
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
        success_limits(axis, highest)
        _names_at_the_right(axis, table, {a: look[a].colour if a == highlight else INK for a in table["agent"]})
    text = "Success against cost; the seeds of a run share its training and evaluation time."
    return Drawing("cost", figure, f"{text} {results.caption}")


def _time_axis(axis: Axes, times: pd.Series) -> None:
    """Plain numbers at 1, 2 and 5 of each power of ten (or at these powers alone), at least a factor of six wide."""
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
        line = {"arrowstyle": "-", "color": colour, "lw": 0.3, "alpha": 0.6, "shrinkA": 1, "shrinkB": 2}
        text: dict[str, Any] = {"fontsize": 6, "va": "center", "color": colour, "textcoords": "axes fraction"}
        axis.annotate(agent_text(row.agent), (row.time, row.mean), (1.06, place), arrowprops=line, **text)


def spread(wanted: np.ndarray, gap: float) -> np.ndarray:
    """Return places in [0, 1], at least `gap` apart, near the wanted ones (which fall); for labels of points."""
    places = np.array(wanted, dtype=float)
    for i in range(1, len(places)):
        places[i] = min(places[i], places[i - 1] - gap)
    for i in range(len(places) - 1, -1, -1):
        floor = 0.0 if i == len(places) - 1 else places[i + 1] + gap
        places[i] = max(places[i], floor)
    return places
