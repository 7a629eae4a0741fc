"""What a dataset of a maze holds: sizes, how the body moves, where it went."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium
import matplotlib.patches
import numpy as np
import ogbench.locomaze
from matplotlib.figure import Figure
from rich.table import Table

from benchmark.common.errors import UserError
from benchmark.common.reading import NUMBER, check_fields
from benchmark.common.terminal import console
from envs.data.arrays import check_flags
from envs.data.dataset import read_rows
from envs.data.temporary import models_removed
from envs.files.local import Damaged, Refused, check_structure, read_record, record_path
from envs.ogbench.episodes import RECIPES

assert ogbench.locomaze  # its import registers the environments

SHOWN_EPISODES = 20
"""Whose paths are drawn over the counts of visits."""


@dataclass(frozen=True)
class Walks:
    """The episodes of a maze's dataset file."""

    path: Path
    positions: list[np.ndarray]
    """Of each episode (rows, 2), in the maze's own length."""
    maze: Any
    """The environment, unwrapped."""
    record: Mapping[str, Any]
    """What was recorded of the file, {} where nothing was."""


def read_walks(path: Path) -> Walks:
    """Read a dataset file whose name begins with that of a maze's dataset.

    Raises a UserError where it does not, the file is damaged or another maze's, or it has no walk of which anything
    could be said.
    """
    name = max((name for name in RECIPES if path.name.startswith(name) and "maze" in name), key=len, default=None)
    if name is None:
        raise UserError(f"{path} does not have the name of a maze's dataset, such as antmaze-large-navigate-v0.npz")
    try:
        check_structure(path)
    except (Damaged, Refused) as error:
        raise UserError(f"{path}: {error}") from error
    rows, record = read_rows(path, ()), read_record(path) or {}
    check_fields(record_path(path), record, {"episodes_reaching_a_goal": NUMBER, "goals_reached": NUMBER})
    with models_removed():
        maze = gymnasium.make(RECIPES[name].env_id, disable_env_checker=True).unwrapped
    try:
        return Walks(path, _episodes(rows["observations"], rows["terminals"], maze), maze, record)
    except ValueError as error:
        raise UserError(f"{path} cannot be used: {error}") from error


def _episodes(observations: np.ndarray, terminals: np.ndarray, maze: Any) -> list[np.ndarray]:
    """The positions of each episode, (rows, 2). Raises a ValueError where these are no walks in the maze."""
    columns = maze.observation_space.shape[-1]
    if observations.shape[1:] != (columns,):
        raise ValueError(f"observations has shape {observations.shape}, not (rows, {columns}): it is of another maze")
    if terminals.ndim != 1:
        raise ValueError(f"terminals has shape {terminals.shape}, not (rows,)")
    check_flags("terminals", terminals)
    positions, ends = observations[:, :2].astype(float), np.flatnonzero(terminals) + 1
    episodes = np.split(positions, ends[ends < len(positions)])
    if max(map(len, episodes)) < 2:
        raise ValueError("no episode has two rows")
    low, high = np.transpose(_bounds(maze))
    if not ((low <= positions) & (positions <= high)).all(axis=1).any():
        raise ValueError("no position lies in the maze")
    return episodes


def describe(walks: Walks) -> dict[str, str]:
    """Facts of the file, each by its name with its unit."""
    lengths = np.array([len(episode) for episode in walks.positions])
    steps = [np.linalg.norm(np.diff(episode, axis=0), axis=1) for episode in walks.positions]
    speeds = np.concatenate(steps) / walks.maze.dt
    visits = cell_visits(walks)
    free = walks.maze.maze_map == 0
    facts = {
        "rows": f"{lengths.sum():,}",
        "episodes": f"{len(lengths):,}",
        "rows of an episode": f"{lengths.min():,} to {lengths.max():,}",
        "speed, mean (5% to 95%), 1/s": f"{speeds.mean():.2f} ({np.quantile(speeds, 0.05):.2f} to "
        f"{np.quantile(speeds, 0.95):.2f})",
        "path of an episode, mean": f"{np.mean([step.sum() for step in steps]):.0f}",
        "free cells visited": f"{(visits[free] > 0).sum()} of {free.sum()}",
        "visits of a free cell, least to most": f"{visits[free].min() / visits.sum():.2%} to "
        f"{visits[free].max() / visits.sum():.2%}",
        "free cells of an episode, mean": f"{np.mean([len(_cells(walks, path)) for path in walks.positions]):.1f}",
    }
    if (reaching := walks.record.get("episodes_reaching_a_goal")) is not None:
        facts["episodes that reach a goal"] = f"{reaching / len(lengths):.1%}"
    if (goals := walks.record.get("goals_reached")) is not None:
        facts["goals of an episode, mean"] = f"{goals / len(lengths):.1f}"
    return facts


def cell_visits(walks: Walks) -> np.ndarray:
    """How many rows lie in each cell of the maze, of the shape of its map."""
    visits = np.zeros(walks.maze.maze_map.shape, int)
    np.add.at(visits, _indices(walks, np.concatenate(walks.positions)), 1)
    return visits


def _grid(maze: Any) -> tuple[float, float, float]:
    """A cell's width, and the left and lower edge of the cell (0, 0)."""
    (x, y), (next_x, _) = maze.ij_to_xy((0, 0)), maze.ij_to_xy((0, 1))
    unit = next_x - x
    return unit, x - unit / 2, y - unit / 2


def _bounds(maze: Any) -> list[list[float]]:
    """[left, right] and [lower, upper] edge of the maze."""
    (unit, left, bottom), (rows, columns) = _grid(maze), maze.maze_map.shape
    return [[left, left + columns * unit], [bottom, bottom + rows * unit]]


def _indices(walks: Walks, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cells (i, j) of positions (rows, 2), as the maze's `xy_to_ij` gives them one by one."""
    unit, left, bottom = _grid(walks.maze)
    rows, columns = walks.maze.maze_map.shape
    i, j = ((positions[:, axis] - edge) // unit for axis, edge in ((1, bottom), (0, left)))
    return np.clip(i.astype(int), 0, rows - 1), np.clip(j.astype(int), 0, columns - 1)


def _cells(walks: Walks, positions: np.ndarray) -> set[tuple[int, int]]:
    return set(zip(*(index.tolist() for index in _indices(walks, positions)), strict=True))


def print_facts(files: Sequence[tuple[str, Mapping[str, str]]]) -> None:
    """Print a column a file."""
    table = Table("", *(name for name, _ in files))
    for fact in dict.fromkeys(fact for _, facts in files for fact in facts):
        table.add_row(fact, *(facts.get(fact, "") for _, facts in files))
    console.print(table)


def draw(files: Sequence[Walks], out: Path) -> None:
    """Draw a maze a file: its walls, how often each place was visited, and the paths of some episodes."""
    figure = Figure(figsize=(5.5 * len(files), 4.6), layout="constrained")
    for axes, walks in zip(np.atleast_1d(figure.subplots(1, len(files))), files, strict=True):
        (unit, left, bottom), (rows, columns) = _grid(walks.maze), walks.maze.maze_map.shape
        bounds = _bounds(walks.maze)
        x, y = np.concatenate(walks.positions).T
        counts, xs, ys = np.histogram2d(x, y, bins=(8 * columns, 8 * rows), range=bounds)
        shares = np.ma.masked_equal(counts.T / counts.sum(), 0)
        image = axes.pcolormesh(xs, ys, shares, cmap="Blues", norm="log", rasterized=True)
        figure.colorbar(image, ax=axes, label="share of rows", shrink=0.8)
        for i, j in np.argwhere(walks.maze.maze_map == 1):
            corner = (left + j * unit, bottom + i * unit)
            axes.add_patch(matplotlib.patches.Rectangle(corner, unit, unit, color="0.35", lw=0))
        shown = walks.positions[:SHOWN_EPISODES]
        for number, path in enumerate(shown):
            axes.plot(*path.T, lw=0.5, color="C1", alpha=0.6, label=None if number else f"{len(shown)} episodes")
        axes.set(title=walks.path.stem, aspect="equal", xlabel="x", ylabel="y", xlim=bounds[0], ylim=bounds[1])
        axes.legend(loc="upper right", fontsize="small")
    figure.savefig(out, dpi=150)
