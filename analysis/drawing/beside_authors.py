"""The same experiment by the authors' code (`benchmark.same_experiment`) beside ours: curves, a column an algorithm."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes

from analysis.averaging import statistics
from analysis.drawing.axes import legend, steps_axis, success_limits
from analysis.drawing.curves import curve, seed_curves
from analysis.drawing.style import (
    BLUE,
    TEXT_WIDTH,
    VERMILLION,
    WIDTH,
    Drawing,
    Look,
    agent_text,
    fitting_size,
    new_figure,
    styled,
)
from analysis.names import agents_in_order
from benchmark.runs.run import AUTHORS

LOOKS = {"ours": Look(BLUE, "-"), "the authors' code": Look(VERMILLION, (0, (4, 1.5)))}
ROWS = {"success": "success, %", "return": "return"}
MOST_COLUMNS = 6
"""More algorithms than this begin another row of panels."""


def pairs_of(agents: Sequence[str]) -> dict[str, str]:
    """Of our agents and variants that the authors' code was set beside: what its results are called."""
    pairs: dict[str, str] = {}
    for agent in agents_in_order(agents):
        base, _, variant = agent.removesuffix(")").partition(" (")
        theirs = f"{base} ({variant or base}{AUTHORS})"
        if theirs in agents:
            pairs[agent] = theirs
    return pairs


def draw_beside_authors(evaluations: pd.DataFrame) -> Drawing:
    """Success, and below it return, against gradient steps: means over seeds and, on a single task, every seed.

    Of tasks that both have, at the steps that all of a side's seeds have.
    """
    pairs = pairs_of(list(evaluations["agent"]))
    measures = [name for name in ROWS if evaluations[name].notna().any()]
    columns = min(len(pairs), MOST_COLUMNS)
    blocks = math.ceil(len(pairs) / columns)
    with styled():
        width = WIDTH if columns < 3 else TEXT_WIDTH
        figure, axes = new_figure(0.35 + 1.25 * blocks * len(measures), blocks * len(measures), columns, width)
        for axis in axes.flat:
            axis.set_visible(False)
        for number, (ours, theirs) in enumerate(pairs.items()):
            block, column = divmod(number, columns)
            panels = axes[block * len(measures) : (block + 1) * len(measures), column]
            _draw_pair(evaluations, ours, theirs, dict(zip(measures, panels, strict=True)), named=column == 0)
        legend(figure, list(LOOKS), LOOKS)
    text = "Ours and the authors' code on the same data with the same settings: success in percent and return while "
    text += "training, mean over seeds and over the tasks that both have; where that is one, thin lines: single seeds."
    return Drawing("beside_authors", figure, text)


def _draw_pair(evaluations: pd.DataFrame, ours: str, theirs: str, panels: dict[str, Axes], named: bool) -> None:
    """Draw one algorithm's measures, each in its panel."""
    sides = [evaluations[evaluations["agent"] == agent] for agent in (ours, theirs)]
    tasks = set(sides[0]["task"]) & set(sides[1]["task"])
    sides = [side[side["task"].isin(tasks)] for side in sides]
    for place, (measure, axis) in enumerate(panels.items()):
        axis.set_visible(True)
        for side, look in zip(sides, LOOKS.values(), strict=True):
            measured = side.assign(success=side[measure])  # what curves are of
            if len(tasks) == 1:
                seed_curves(axis, measured, look)
            curve(axis, statistics.learning_curves(measured, "overall", bounded=False), look, band=False)
        if place == 0:
            title = agent_text(ours)
            axis.set_title(title, fontsize=fitting_size(title, 13))
        if measure == "success":
            success_limits(axis, max(side["success"].max() for side in sides))
        axis.set_ylabel(ROWS[measure] if named else "")
        steps_axis(axis, pd.concat([side["step"] for side in sides]), ticks=2, named=place == len(panels) - 1)
