"""Statistics as the field defines them (Agarwal et al., arXiv 2108.13264), on tidy frames.

Two forms of frame go through here:

* *evaluations*: agent, task, domain, seed, step, success (and more), as `Runs.evaluations` has them;
* *scores*: agent, task, domain, seed, score, one row per (agent, task, seed), as `final_scores` makes them.

Every interval is a percentile bootstrap over seeds, the tasks being strata: each task's seeds are drawn with
replacement among themselves, so that tasks may have different numbers of seeds. One (agent, task) draws from
a random stream of its own, made from `seed` and the two names: an interval does not depend on what else is in
the frame. An interval over seeds needs at least two of them: where a task has one seed, `low` and `high` are
NaN, and with two seeds the interval is simply their range.
"""

from __future__ import annotations

import functools
import zlib
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
from scipy.stats import trim_mean

from analysis.names import agents_in_order
from benchmark.common.errors import UserError

REPETITIONS = 2000
CONFIDENCE = 0.95
Statistic = Literal["mean", "iqm", "optimality_gap"]


def final_scores(evaluations: pd.DataFrame, last: int = 1) -> pd.DataFrame:
    """One score per (agent, task, seed): the mean success of its last `last` evaluations.

    Args:
        evaluations: what may be averaged (`Results.evaluations`).
        last: 1 for the final step alone, 3 for the mean of the last three evaluations.

    Returns:
        agent, task, domain, seed, score, step (of the last evaluation); source, origin, regime where the
        evaluations have them.

    Raises:
        UserError: a seed that has not all of the evaluation steps that its (agent, task) ends with.
    """
    if last < 1:
        raise UserError(f"last must be at least 1, not {last}; 1 is the final step, 3 the mean of the last three")
    keys = ["agent", "task"]
    steps = evaluations[[*keys, "step"]].drop_duplicates().sort_values("step")
    wanted = steps.groupby(keys).tail(last)
    chosen = evaluations.merge(wanted, on=[*keys, "step"])
    kept = {name: (name, "first") for name in ("source", "origin", "regime") if name in evaluations}
    scores = chosen.groupby([*keys, "domain", "seed"], as_index=False).agg(
        score=("success", "mean"), step=("step", "max"), evaluations=("step", "nunique"), rows=("step", "size"), **kept
    )
    if len(scores) < len(evaluations[[*keys, "seed"]].drop_duplicates()) or (scores["evaluations"] < last).any():
        raise UserError(_uneven(evaluations, scores, wanted, last))
    if (scores["rows"] > scores["evaluations"]).any():
        twice = scores[scores["rows"] > scores["evaluations"]].iloc[0]
        raise UserError(f"{twice.agent} on {twice.task}: seed {twice.seed} is there more than once")
    return scores.drop(columns=["evaluations", "rows"])


def _uneven(evaluations: pd.DataFrame, scores: pd.DataFrame, wanted: pd.DataFrame, last: int) -> str:
    """Say which seed lacks one of the last evaluations."""
    keys = ["agent", "task", "seed"]
    have = scores[scores["evaluations"] >= last].set_index(keys).index
    lacking = evaluations[keys].drop_duplicates().set_index(keys).index.difference(have)
    agent, task, seed = lacking[0]
    steps = wanted[(wanted["agent"] == agent) & (wanted["task"] == task)]["step"]
    listed = ", ".join(str(step) for step in steps)
    short = f" (of {last} asked for)" if len(steps) < last else ""
    return f"{agent} on {task}: seed {seed} was not evaluated at all of the last steps{short}: {listed}"


def _strata(scores: pd.DataFrame) -> dict[str, dict[str, np.ndarray]]:
    """Return {agent: {task: scores of its seeds}}, agents and tasks in a fixed order."""
    ordered = scores.sort_values(["agent", "task", "seed"])
    result: dict[str, dict[str, np.ndarray]] = {agent: {} for agent in agents_in_order(ordered["agent"])}
    for (agent, task), group in ordered.groupby(["agent", "task"])["score"]:
        result[agent][task] = group.to_numpy(dtype=float)
    return result


def _drawn_seeds(agent: str, task: str, n: int, repetitions: int, seed: int) -> np.ndarray:
    """Which of the n seeds each bootstrap sample holds: (repetitions, n) of positions."""
    stream = np.random.default_rng([seed, zlib.crc32(agent.encode()), zlib.crc32(task.encode())])
    return stream.integers(n, size=(repetitions, n))


def _weights(agent: str, task: str, n: int, repetitions: int, seed: int) -> np.ndarray:
    """The same samples as the share that each seed has in them: (repetitions, n), rows summing to 1.

    A mean over the sampled seeds is then a matrix product.
    """
    places = _drawn_seeds(agent, task, n, repetitions, seed) + n * np.arange(repetitions)[:, None]
    return np.bincount(places.ravel(), minlength=n * repetitions).reshape(repetitions, n) / n


def _interval(samples: np.ndarray, fewest: int, confidence: float = CONFIDENCE) -> tuple[np.ndarray, np.ndarray]:
    """Percentile interval along the first axis; NaN where a stratum has fewer than two seeds."""
    if fewest < 2:
        nothing = np.full(samples.shape[1:], np.nan)
        return nothing, nothing
    tail = 50 * (1 - confidence)
    low, high = np.percentile(samples, [tail, 100 - tail], axis=0)
    return low, high


def task_means(scores: pd.DataFrame, repetitions: int = REPETITIONS, seed: int = 0) -> pd.DataFrame:
    """Mean over seeds per (agent, task): agent, task, domain, mean, low, high, seeds, tasks (1)."""
    return grouped_means(scores, "task", repetitions, seed)


def domain_means(scores: pd.DataFrame, repetitions: int = REPETITIONS, seed: int = 0) -> pd.DataFrame:
    """Mean of the task means per (agent, domain): agent, domain, mean, low, high, seeds (fewest), tasks."""
    return grouped_means(scores, "domain", repetitions, seed)


def overall_means(scores: pd.DataFrame, repetitions: int = REPETITIONS, seed: int = 0) -> pd.DataFrame:
    """Mean of the task means per agent: agent, mean, low, high, seeds (fewest), tasks."""
    return grouped_means(scores, "overall", repetitions, seed)


def grouped_means(
    scores: pd.DataFrame, by: Literal["task", "domain", "overall"], repetitions: int = REPETITIONS, seed: int = 0
) -> pd.DataFrame:
    """Mean of task means per group of tasks; every task weighs the same however many seeds it has."""
    curves = scores.assign(step=0, success=scores["score"])
    return learning_curves(curves, by, repetitions, seed).drop(columns="step")


def learning_curves(
    evaluations: pd.DataFrame,
    by: Literal["task", "domain", "overall"] = "task",
    repetitions: int = REPETITIONS,
    seed: int = 0,
) -> pd.DataFrame:
    """Mean success and its interval at every evaluation step.

    A group's curve runs over the steps that all of its tasks and seeds have. Seeds are drawn as whole curves.

    Returns:
        agent, the group (task and domain, or domain, or nothing), step, mean, low, high, seeds (the fewest of
        any task), tasks.
    """
    names = {"task": ["task", "domain"], "domain": ["domain"], "overall": []}[by]
    groups: dict[tuple[str, ...], dict[str, tuple[np.ndarray, np.ndarray]]] = {}
    for (agent, task, domain), rows in evaluations.groupby(["agent", "task", "domain"]):
        key = (agent, *{"task": (task, domain), "domain": (domain,), "overall": ()}[by])
        groups.setdefault(key, {})[task] = _curves(agent, task, rows)
    parts: list[dict[str, Any]] = []
    for key, tasks in sorted(groups.items()):
        shared = functools.reduce(np.intersect1d, [steps for steps, _ in tasks.values()])
        curves = {task: table[:, np.isin(steps, shared)] for task, (steps, table) in tasks.items()}
        samples = [_weights(key[0], task, len(table), repetitions, seed) @ table for task, table in curves.items()]
        fewest = min(len(table) for table in curves.values())
        low, high = _interval(np.mean(samples, axis=0), fewest)
        means = np.mean([table.mean(axis=0) for table in curves.values()], axis=0)
        part = dict(zip(["agent", *names], key, strict=True)) | {"step": shared, "mean": means}
        parts.append(part | {"low": low, "high": high, "seeds": fewest, "tasks": len(curves)})
    return _long(parts, ["agent", *names, "step", "mean", "low", "high", "seeds", "tasks"])


def _curves(agent: str, task: str, rows: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Return the steps that all seeds of one (agent, task) have, (points,), and success, (seeds, points)."""
    if rows.duplicated(["seed", "step"]).any():
        raise UserError(f"{agent} on {task}: a seed is there more than once")
    seeds, place = np.unique(rows["seed"].to_numpy(), return_inverse=True)
    steps, point = np.unique(rows["step"].to_numpy(), return_inverse=True)
    table = np.full((len(seeds), len(steps)), np.nan)
    table[place, point] = rows["success"].to_numpy(dtype=float)
    whole = ~np.isnan(table).any(axis=0)
    return steps[whole], table[:, whole]


def _long(parts: list[dict[str, Any]], columns: list[str]) -> pd.DataFrame:
    """Stack parts (each: arrays of one length and single values) into one frame."""
    if not parts:
        return pd.DataFrame(columns=columns)
    lengths = [max(np.size(value) for value in part.values()) for part in parts]

    def stacked(name: str) -> np.ndarray:
        return np.concatenate([np.broadcast_to(p[name], n) for p, n in zip(parts, lengths, strict=True)])

    return pd.DataFrame({name: stacked(name) for name in columns})


def _reduce(statistic: Statistic, samples: Sequence[np.ndarray]) -> np.ndarray:
    """Apply the statistic to samples of shape (repetitions, seeds), one per task; result (repetitions,)."""
    if statistic == "mean":
        return np.mean([sample.mean(axis=1) for sample in samples], axis=0)
    pooled = np.concatenate(samples, axis=1)
    if statistic == "iqm":
        return trim_mean(pooled, 0.25, axis=1)
    return 1 - np.minimum(pooled, 1).mean(axis=1)


def aggregate(
    scores: pd.DataFrame,
    statistics: Iterable[Statistic] = ("mean", "iqm", "optimality_gap"),
    repetitions: int = REPETITIONS,
    seed: int = 0,
) -> pd.DataFrame:
    """Aggregates over all tasks with stratified bootstrap intervals.

    "mean" is the mean of the task means; "iqm" the mean of the middle half of all (task, seed) scores pooled;
    "optimality_gap" the mean of how far scores fall short of 1. Pooled statistics weigh a task by its seeds,
    as defined in the field; the weights are equal where all tasks have as many.

    Returns:
        agent, statistic, value, low, high, seeds (fewest), tasks.
    """
    rows = []
    for agent, tasks in _strata(scores).items():
        draws = [v[_drawn_seeds(agent, task, len(v), repetitions, seed)] for task, v in tasks.items()]
        fewest = min(len(values) for values in tasks.values())
        for statistic in statistics:
            value = _reduce(statistic, [values[None] for values in tasks.values()])[0]
            low, high = _interval(_reduce(statistic, draws), fewest)
            rows.append((agent, statistic, value, float(low), float(high), fewest, len(tasks)))
    return pd.DataFrame(rows, columns=["agent", "statistic", "value", "low", "high", "seeds", "tasks"])


def probability_of_improvement(
    scores: pd.DataFrame, pairs: Iterable[tuple[str, str]] | None = None, repetitions: int = REPETITIONS, seed: int = 0
) -> pd.DataFrame:
    """Chance that a run of x scores above a run of y on a task drawn at random, a tie counting half.

    Args:
        pairs: (x, y) agents; by default every agent against every other.

    Returns:
        x, y, value, low, high, tasks (those that both have), seeds (fewest). A pair without a common task is
        left out.
    """
    strata = _strata(scores)
    if pairs is None:
        pairs = [(x, y) for x in strata for y in strata if x != y]
    weights = {
        (agent, task): _weights(agent, task, len(values), repetitions, seed)
        for agent, tasks in strata.items()
        for task, values in tasks.items()
    }
    rows = []
    for x, y in pairs:
        common = [task for task in strata[x] if task in strata[y]]
        if not common:
            continue
        samples = np.zeros(repetitions)
        value = 0.0
        for task in common:
            # 1 where x's seed (row) scores above y's (column), 1/2 where they tie.
            wins = 0.5 + 0.5 * np.sign(strata[x][task][:, None] - strata[y][task])
            value += wins.mean() / len(common)
            samples += ((weights[x, task] @ wins) * weights[y, task]).sum(axis=1) / len(common)
        fewest = min(min(len(strata[x][task]), len(strata[y][task])) for task in common)
        low, high = _interval(samples, fewest)
        rows.append((x, y, float(value), float(low), float(high), len(common), fewest))
    return pd.DataFrame(rows, columns=["x", "y", "value", "low", "high", "tasks", "seeds"])


def performance_profiles(
    scores: pd.DataFrame, thresholds: Sequence[float] | None = None, repetitions: int = REPETITIONS, seed: int = 0
) -> pd.DataFrame:
    """Fraction of the (task, seed) scores above each threshold.

    Args:
        thresholds: by default 0, 0.01, ..., 1.

    Returns:
        agent, threshold, fraction, low, high, seeds (fewest), tasks.
    """
    points = np.linspace(0, 1, 101) if thresholds is None else np.asarray(thresholds, dtype=float)
    parts: list[dict[str, Any]] = []
    for agent, tasks in _strata(scores).items():
        pooled = np.concatenate(list(tasks.values()))
        above = (pooled[:, None] > points).astype(float)
        shares = [
            _weights(agent, task, len(values), repetitions, seed) * (len(values) / len(pooled))
            for task, values in tasks.items()
        ]
        fewest = min(len(values) for values in tasks.values())
        low, high = _interval(np.concatenate(shares, axis=1) @ above, fewest)
        part = {"agent": agent, "threshold": points, "fraction": above.mean(axis=0)}
        parts.append(part | {"low": low, "high": high, "seeds": fewest, "tasks": len(tasks)})
    return _long(parts, ["agent", "threshold", "fraction", "low", "high", "seeds", "tasks"])


def near_best(values: Sequence[float] | np.ndarray, percent: float = 95) -> np.ndarray:
    """Which values the papers print bold: those of at least `percent` % of the best. NaN never is.

    All ties of the best are bold. Where the best is 0, nothing was learned and nothing is bold.
    """
    array = np.asarray(values, dtype=float)
    if np.all(np.isnan(array)) or np.nanmax(array) <= 0:
        return np.zeros(array.shape, dtype=bool)
    # The tolerance keeps 95 of 100 bold, which 0.95 * 100 in floating point may not.
    return array >= np.nanmax(array) * percent / 100 - 1e-9


def caption(last: int, scores: pd.DataFrame, repetitions: int = REPETITIONS) -> str:
    """Say how the figures were made: the aggregation, the seeds and the interval."""
    what = "the final evaluation" if last == 1 else f"the mean of the last {last} evaluations"
    counts = sorted(scores.groupby(["agent", "task"])["seed"].nunique().unique()) if len(scores) else [0]
    seeds = f"{counts[0]}" if counts[0] == counts[-1] else f"{counts[0]} to {counts[-1]}"
    plural = "" if counts == [1] else "s"
    text = f"Success at {what}, {seeds} seed{plural} per task"
    if counts[0] < 2:
        return f"{text}; one seed has no interval."
    few = "; with two seeds the interval is their range" if counts[0] == 2 else ""
    return f"{text}; 95% percentile bootstrap over seeds, tasks as strata, {repetitions:,} repetitions{few}."
