"""A sweep as a heat map: success over two hyperparameters, a panel for each setting of the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from analysis.drawing.style import VERMILLION, WIDTH, Drawing, agent_text, short_name, styled


def draw_heat_map(found: pd.DataFrame, names: Sequence[str], stem: str, winner: Mapping[str, float]) -> Drawing:
    """Success over two hyperparameters, a panel for each setting of the others; the winner has a frame.

    The first hyperparameter runs down, the second across; a sweep of a single one is a row.
    """
    down, across = (names[0], names[1]) if len(names) > 1 else (None, names[0])
    rest = list(names[2:])
    panels = list(found.groupby(rest, sort=True)) if rest else [((), found)]
    heights = found[down].nunique() if down else 1
    size = (max(WIDTH, 1.1 + 0.55 * found[across].nunique() * min(3, len(panels))), 0)
    rows = -(-len(panels) // 3)
    with styled():
        figure = Figure(figsize=(size[0], 0.3 + rows * (0.9 + 0.42 * heights)), layout="constrained")
        axes = figure.subplots(rows, min(3, len(panels)), squeeze=False)
        for axis in axes.flat[len(panels) :]:
            axis.set_visible(False)
        for axis, (key, part) in zip(axes.flat, panels, strict=False):
            values = _grid(part, down, across)
            image = axis.imshow(100 * values, cmap="cividis", vmin=0, vmax=100, aspect="auto")
            ys = sorted(part[down].unique()) if down else [None]
            xs = sorted(part[across].unique())
            for (i, j), value in np.ndenumerate(values):
                if np.isfinite(value):
                    ink = "black" if value > 0.5 else "white"
                    axis.text(j, i, f"{100 * value:.0f}", ha="center", va="center", color=ink, fontsize=7)
            others = dict(zip(rest, key, strict=True))
            if all(np.isclose(winner[name], value) for name, value in others.items()):
                place = (xs.index(winner[across]), ys.index(winner[down]) if down else 0)
                frame = Rectangle(
                    (place[0] - 0.5, place[1] - 0.5), 1, 1, fill=False, edgecolor=VERMILLION, linewidth=2, clip_on=False
                )
                axis.add_patch(frame)
            axis.set_xticks(range(len(xs)), [f"{x:g}" for x in xs])
            axis.set_yticks(range(len(ys)), [f"{y:g}" for y in ys] if down else [""])
            axis.set_xlabel(across)
            axis.set_ylabel(down or "")
            axis.tick_params(length=0)
            axis.grid(False)
            if others:
                axis.set_title(", ".join(f"{name} {value:g}" for name, value in others.items()))
        figure.colorbar(image, ax=axes, label="success, %", shrink=0.9)
        first = found.iloc[0]
        said = f"success after {first['updates']:,} updates, {first['seeds']} tuning seeds"
        figure.suptitle(f"{agent_text(first['agent'])} on {short_name(first['task'])}\n{said}", fontsize=7)
    return Drawing(stem, figure, "Success in percent; the chosen setting has a frame.")


def _grid(part: pd.DataFrame, down: str | None, across: str) -> np.ndarray:
    """Final success (rows, columns); NaN where a setting was not run."""
    if down is None:
        return part.sort_values(across)["final"].to_numpy()[None]
    return part.pivot_table(index=down, columns=across, values="final").to_numpy()
