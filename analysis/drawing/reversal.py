"""What flow reversal does, from a reversal file: a numpy `.npz` made from a trained flow policy at one observation.

With F flow steps and n trajectories, all of them in two chosen coordinates of the action chunk, it has:

============ =============================================================================================
forward      float (n, F+1, 2). `forward[:, 0]` is noise, `forward[:, F]` the action that the flow makes of it
reversed     float (n, F+1, 2). `reversed[:, 0]` is an action of the dataset, `reversed[:, F]` the noise that the
             reversed flow leads back to
coordinates  optional, int (2,): which two of the flattened chunk's coordinates these are
agent, task  optional, text: for the caption
============ =============================================================================================
"""

from __future__ import annotations

import math
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from analysis.drawing.style import BLACK, BLUE, VERMILLION, Drawing, new_figure, styled
from benchmark.common.errors import UserError

DAMAGED = (zipfile.BadZipFile, zlib.error, NotImplementedError, MemoryError, RuntimeError)
"""What reading a damaged .npz may raise, beside errors of values and of the system."""


def read_reversal(path: str | Path) -> dict[str, Any]:
    """Read a reversal file. Raises a UserError for what is no .npz of plain arrays of the right shapes."""
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
    """What flow reversal does: at most so many trajectories from noise to actions, and from data back to noise."""
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
