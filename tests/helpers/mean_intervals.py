"""How often 95% intervals of one agent's success hold the true one, by both kinds that `averaging.statistics` has.

    python -m tests.helpers.mean_intervals --simulations 2000 --archive qam-exp-data.pkl

Made scores are like those of `tests.helpers.calibration`. With the archive, its 12 seeds of a method and task are taken
for the truth, and seeds are drawn from them for what one would have measured.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import get_args

import numpy as np
import pandas as pd

from analysis.averaging.statistics import Interval, aggregate, final_scores, learning_curves
from analysis.reading.archive import read_curves
from tests.helpers.calibration import SPREAD

SIZES = ((1, 2), (1, 4), (1, 12), (5, 2), (5, 4), (5, 12), (50, 2), (50, 4), (50, 12))
"""Tasks, and seeds of each."""


def made(middle: float, seeds: int, simulations: int, stream: np.random.Generator) -> np.ndarray:
    """Scores of a task whose mean is `middle`, (seeds, simulations)."""
    size = (seeds, simulations)
    chance = middle + stream.choice([-1, 1], size) * SPREAD * stream.uniform(0.5, 1.4, size)
    return stream.binomial(50, np.clip(chance, 0, 1)) / 50


def frame(tables: Sequence[np.ndarray]) -> pd.DataFrame:
    """Tables (seeds, simulations), one a task, as evaluations: a simulation is a step."""
    parts = []
    for task, table in enumerate(tables):
        seed, step = np.indices(table.shape)
        columns = {"seed": seed.ravel(), "step": step.ravel(), "success": table.ravel()}
        parts.append(pd.DataFrame(columns).assign(agent="x", task=f"t{task}", domain="d"))
    return pd.concat(parts)


def held(tables: Sequence[np.ndarray], truth: float, interval: Interval) -> float:
    """How often the interval of the mean of the tasks' means holds the truth."""
    found = learning_curves(frame(tables), "overall", repetitions=1000, interval=interval)
    return float(((found["low"] <= truth + 1e-9) & (truth - 1e-9 <= found["high"])).mean())


def of_made(tasks: int, seeds: int, simulations: int, interval: Interval, seed: int = 0) -> float:
    """The same for made scores."""
    stream = np.random.default_rng(seed)
    middles = stream.uniform(0.3, 0.7, tasks)
    return held([made(middle, seeds, simulations, stream) for middle in middles], float(middles.mean()), interval)


def of_archive(scores: pd.DataFrame, tasks: int, seeds: int, simulations: int, interval: Interval) -> float:
    """The same for seeds drawn from an archive's, the mean over its methods and its sets of so many tasks in a row."""
    stream, found = np.random.default_rng(0), []
    for _, rows in scores.groupby("agent"):
        known = [part.to_numpy() for _, part in rows.groupby("task")["score"]]
        for first in range(0, len(known), tasks):
            some = known[first : first + tasks]
            tables = [stream.choice(values, (seeds, simulations)) for values in some]
            found.append(held(tables, float(np.mean([values.mean() for values in some])), interval))
    return float(np.mean(found))


def of_middle_half(tasks: int, seeds: int, simulations: int, interval: Interval) -> float:
    """How often the interval of the interquartile mean holds the one of very many seeds."""
    stream = np.random.default_rng(0)
    middles = stream.uniform(0.3, 0.7, tasks)

    def scores(seeds: int, simulations: int) -> pd.DataFrame:
        tables = [made(middle, seeds, simulations, stream) for middle in middles]
        table = frame(tables)
        return table.assign(agent=table["step"].astype(str), score=table["success"])

    truth = aggregate(scores(2000, 1), ["iqm"], repetitions=2)["value"].item()
    found = aggregate(scores(seeds, simulations), ["iqm"], repetitions=1000, interval=interval)
    return float(((found["low"] <= truth) & (truth <= found["high"])).mean())


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description="Print how often intervals hold the truth, in percent.")
    parser.add_argument("--simulations", type=int, default=2000)
    parser.add_argument("--archive")
    options = parser.parse_args()
    scores = final_scores(read_curves(options.archive)) if options.archive else None
    kinds = get_args(Interval)
    print("| mean of | " + " | ".join(f"{kind}, made scores | {kind}, archive" for kind in kinds) + " |")
    for tasks, seeds in SIZES:
        cells: list[float] = []
        for kind in kinds:
            cells.append(of_made(tasks, seeds, options.simulations, kind))
            cells.append(np.nan if scores is None else of_archive(scores, tasks, seeds, 100, kind))
        print(
            f"| {tasks} tasks, {seeds} seeds | " + " | ".join(f"{100 * cell:.1f}" for cell in cells) + " |", flush=True
        )
    for tasks, seeds in ((5, 4), (50, 4)):
        cells = [of_middle_half(tasks, seeds, min(options.simulations, 400), kind) for kind in kinds]
        print(f"| middle half of {tasks} tasks, {seeds} seeds | " + " | ".join(f"{100 * c:.1f}" for c in cells) + " |")


if __name__ == "__main__":
    main()
