"""What the page knows of each run: its fields, its curves, its training metrics."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from analysis.common.progress_bar import bar
from analysis.names import MEASURES, SHARED, TASKS, in_order, own_first
from analysis.reading.loading import Runs, read_training
from analysis.reading.records import planned_steps
from benchmark.runs.seeds import format_seeds

TRAINING_RUNS = 100
"""Up to so many runs, the report holds the training metrics too; they are large and slow to read."""
TRAINING_POINTS = 100
FIELDS = (
    *("run", "agent", "task", "suite", "seeds", "firstSeed", "state", "step", "steps", "diverged", "error"),
    *("rate", "seconds", "started", "updated", "command", "hyperparameters", "protocol", "made", "success"),
    *("curves", "training"),
)
"""What the page knows of a run, in this order."""
POOLED = ("agent", "task", "suite", "command", "hyperparameters", "protocol", "made")
"""Fields that many runs share: each different value is written once."""


def runs_data(runs: Runs) -> dict[str, Any]:
    """The runs as the page's script takes them: rows of `FIELDS`, those of `POOLED` by their place in `pools`."""
    pools: dict[str, dict[str, tuple[int, Any]]] = {name: {} for name in POOLED}
    steps, curves = _curves(runs)
    rows = []
    for row in bar(sorted(runs.runs.itertuples(), key=_place(runs.runs)), "pages of runs", fewest=500):
        fields = _run_fields(row, curves.get(row.run, []), steps, len(runs) <= TRAINING_RUNS)
        for name in POOLED:
            value = fields[name]
            key = value if isinstance(value, str) else json.dumps(value, sort_keys=True, default=str)
            fields[name] = pools[name].setdefault(key, (len(pools[name]), value))[0]
        rows.append([fields[name] for name in FIELDS])
    values = {name: [value for _, value in pool.values()] for name, pool in pools.items()}
    return {"fields": FIELDS, "shared": SHARED, "pools": values, "steps": steps, "runs": rows}


def _place(table: pd.DataFrame) -> Callable[[Any], Any]:
    """Return the key that puts runs in the tables' order of agents and tasks, then by seed."""
    agents = {name: i for i, name in enumerate(own_first(table["agent"]))}
    tasks = {name: i for i, name in enumerate(in_order(table["task"], TASKS))}
    return lambda row: (agents[row.agent], tasks[row.task], row.seeds, row.run)


def _run_fields(row: Any, curves: list[Any], steps: list[list[int]], with_training: bool) -> dict[str, Any]:
    """What the page knows of one run, by the names of `FIELDS`: `row` is of the runs frame, `curves` and `steps` are
    what `_curves` has.
    """
    made = {name: getattr(row, name) for name in ("commit", "clean", "python", "device", "host", "dataset")}
    made |= {"fingerprint": row.fingerprint, "dataset source": row.source, "transitions": row.transitions}
    made |= {"environment": row.environment} if row.environment else {}
    times = [float(t) for t in (row.train_seconds, row.eval_seconds) if pd.notna(t)]
    as_read = ("run", "agent", "task", "suite", "state", "step", "steps", "error", "started", "updated", "protocol")
    return {name: getattr(row, name) for name in as_read} | {
        "seeds": format_seeds(row.seeds),
        "firstSeed": row.seeds[0] if row.seeds else None,
        "diverged": sorted(row.diverged.items()),
        "rate": round(float(row.updates_per_second), 1) if pd.notna(row.updates_per_second) else None,
        "seconds": round(sum(times), 1) if times else None,
        "command": row.command if pd.notna(row.command) else "",
        "hyperparameters": dict(sorted(row.hyperparameters.items(), key=lambda item: item[0] in SHARED)),
        "made": made | {"versions": row.versions},
        "success": _success(row, curves, steps),
        "curves": curves,
        "training": _training(row.run) if with_training else None,
    }


def _success(row: Any, curves: list[Any], steps: list[list[int]]) -> float | None:
    """The mean over a run's seeds of their last success, 0 of one that diverged before; None where none is known."""
    if row.state == "unreadable":
        return None
    last = {series[0]: (steps[series[1]][-1], series[2][-1]) for series in curves}
    planned = planned_steps(row.protocol, int(row.step), int(row.steps), row.state == "done")
    end = max(planned | {step for step, _ in last.values()}, default=0)
    gone = {seed for seed in row.diverged if seed in row.seeds and last.get(seed, (0, 0))[0] < end}
    ends = [0] * len(gone) + [success for seed, (_, success) in last.items() if seed not in gone]
    return sum(ends) / len(ends) / 1000 if ends else None


def _curves(runs: Runs) -> tuple[list[list[int]], dict[str, list[Any]]]:
    """Return the different lists of evaluation steps, and {run: [[seed, list of steps, *measures], ...]}.

    Success is in thousandths; return and length have four digits.
    """
    table = runs.evaluations
    places = {run: place for place, run in enumerate(dict.fromkeys(table["run"]))}
    owner = table["run"].map(places).to_numpy(dtype=int)
    seeds, steps = table["seed"].to_numpy(), table["step"].to_numpy()
    order = np.lexsort((steps, seeds, owner))
    starts = np.flatnonzero(np.diff(owner[order], prepend=-1) | np.diff(seeds[order], prepend=-1))
    written = {
        "success": [None if np.isnan(x) else round(1000 * x) for x in table["success"].to_numpy(dtype=float)[order]]
    }
    for name in ("return", "length"):
        written[name] = [None if np.isnan(x) else float(f"{x:.4g}") for x in table[name].to_numpy(dtype=float)[order]]
    names = list(places)
    pool: dict[tuple[int, ...], int] = {}
    result: dict[str, list[Any]] = {}
    for start, end in zip(starts, [*starts, len(order)][1:], strict=True):
        first = order[start]
        at = pool.setdefault(tuple(steps[order[start:end]].tolist()), len(pool))
        series = [int(seeds[first]), at, *(written[name][start:end] for name in MEASURES)]
        result.setdefault(names[owner[first]], []).append(series)
    return [list(entry) for entry in pool], result


def _training(run: str) -> dict[str, list[Any]] | None:
    """Read a run's training metrics, thinned: {metric: [[seed, steps, values], ...]}; None where there are none."""
    try:
        table = read_training(run)
    except (OSError, ValueError):
        return None
    if not {"step", "seed"} <= set(table.columns):
        return None
    result: dict[str, list[Any]] = {}
    for seed, rows in table.groupby("seed"):
        thin = rows.iloc[:: max(1, math.ceil(len(rows) / TRAINING_POINTS))]
        for metric in thin.select_dtypes("number").columns.drop(["step", "seed"], errors="ignore"):
            values = [None if np.isnan(x) else float(f"{x:.4g}") for x in thin[metric]]
            result.setdefault(metric, []).append([seed, thin["step"].tolist(), values])
    return result
