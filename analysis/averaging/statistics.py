"""Statistics as the field defines them (Agarwal et al., arXiv 2108.13264), on tidy frames.

Two forms of frame go through here:

* *evaluations*: agent, task, domain, seed, step, success (and more), as `Runs.evaluations` has them;
* *scores*: agent, task, domain, seed, score, one row per (agent, task, seed), as `final_scores` makes them.

Every interval is for other seeds on the same tasks, the tasks being strata that may have different numbers of seeds. An
interval needs at least two seeds: where a task has one, `low` and `high` are NaN. There are two kinds (`Interval`):

* "corrected" holds what it claims at few seeds too. That of a mean is Student's: the tasks' squared standard errors
  added, with Satterthwaite's degrees of freedom (Biometrics Bulletin 2, 1946), cut where success ends. Other statistics
  have a bootstrap that draws n - 1 of a task's n seeds (Rao and Wu, JASA 83, 1988) and takes percentiles further out
  (Hesterberg, arXiv 1411.5279, section 5.3).
* "percentile" is the field's: each task's n seeds are drawn with replacement among themselves, 2.5 and 97.5 percent cut
  off. It is too narrow: by an eighth at 4 seeds, whose 95% intervals hold the truth in 90% of cases over many tasks and
  in 80% on one; with two seeds it is their range. `docs/comparing.md` has how often both kinds do.

One (agent, task) draws from a random stream of its own, made from `seed` and the two names: an interval does not depend
on what else is in the frame.
"""

from __future__ import annotations

import functools
import zlib
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
from scipy import stats

from analysis.names import agents_in_order
from benchmark.common.errors import UserError

REPETITIONS = 2000
CONFIDENCE = 0.95
Interval = Literal["corrected", "percentile"]
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


class _Draws:
    """Bootstrap samples of seeds, and intervals of what is made of them."""

    def __init__(self, interval: Interval, repetitions: int, seed: int):
        self.corrected, self.repetitions, self.seed = interval == "corrected", repetitions, seed

    def seeds(self, agent: str, task: str, n: int) -> np.ndarray:
        """Which of n seeds each sample holds: positions (repetitions, n), or (repetitions, n - 1) where corrected."""
        stream = np.random.default_rng([self.seed, zlib.crc32(agent.encode()), zlib.crc32(task.encode())])
        return stream.integers(n, size=(self.repetitions, max(1, n - 1) if self.corrected else n))

    def weights(self, agent: str, task: str, n: int) -> np.ndarray:
        """The same samples as the share that each seed has in them: (repetitions, n), rows summing to 1.

        A mean over the sampled seeds is then a matrix product.
        """
        drawn = self.seeds(agent, task, n)
        places = drawn + n * np.arange(self.repetitions)[:, None]
        counts = np.bincount(places.ravel(), minlength=n * self.repetitions)
        return counts.reshape(self.repetitions, n) / drawn.shape[1]

    def interval(self, samples: np.ndarray, counts: Iterable[int]) -> np.ndarray:
        """The interval (2, ...) of samples (repetitions, ...) of so many seeds a task; NaN where a task has but one."""
        counts = list(counts)
        if min(counts) < 2:
            return np.full((2, *samples.shape[1:]), np.nan)
        if self.corrected:
            return expanded_percentiles(samples, sum(n - 1 for n in counts))
        tail = 50 * (1 - CONFIDENCE)
        return np.percentile(samples, [tail, 100 - tail], axis=0)


def expanded_percentiles(samples: np.ndarray, freedom: int) -> np.ndarray:
    """The 95% interval (2, ...) of bootstrap samples (repetitions, ...): percentiles further out where values are few.

    As far out as Student's quantile of so many degrees of freedom is among the normal's, e.g. 0.3 and 99.7 instead of
    2.5 and 97.5 for 4 (expanded percentiles: Hesterberg, arXiv 1411.5279, section 5.3).
    """
    tail = 100 * stats.norm.sf(stats.t.ppf(0.5 + CONFIDENCE / 2, freedom))
    return np.percentile(samples, [tail, 100 - tail], axis=0)


def student_interval(tables: Sequence[np.ndarray], bounded: bool = True) -> np.ndarray:
    """Student's 95% interval (2, points) of the mean of the means of some tasks' tables (seeds, points).

    The squared standard errors of the tasks add up; degrees of freedom are Satterthwaite's. It is a point where no seed
    differs from another, and NaN where a task has but one. A bounded one is cut at 0 and 1.
    """
    mean = np.mean([table.mean(axis=0) for table in tables], axis=0)
    if min(map(len, tables)) < 2:
        return np.full((2, *mean.shape), np.nan)
    errors = np.array([table.var(axis=0, ddof=1) / len(table) for table in tables]) / len(tables) ** 2
    freedoms = np.array([len(table) - 1 for table in tables])[:, None]
    squared = errors.sum(axis=0)
    parts = (errors**2 / freedoms).sum(axis=0)
    # Rounding makes a spread of 1e-17 of seeds that are all the same.
    spread = squared > 1e-24
    freedom = np.divide(squared**2, parts, out=np.ones_like(parts), where=spread)
    half = np.where(spread, stats.t.ppf(0.5 + CONFIDENCE / 2, freedom) * np.sqrt(squared), 0.0)
    interval = np.array([mean - half, mean + half])
    return np.clip(interval, 0, 1) if bounded else interval


def task_means(scores: pd.DataFrame, **how: Any) -> pd.DataFrame:
    """Mean over seeds per (agent, task): agent, task, domain, mean, low, high, seeds, tasks (1)."""
    return grouped_means(scores, "task", **how)


def domain_means(scores: pd.DataFrame, **how: Any) -> pd.DataFrame:
    """Mean of the task means per (agent, domain): agent, domain, mean, low, high, seeds (fewest), tasks."""
    return grouped_means(scores, "domain", **how)


def overall_means(scores: pd.DataFrame, **how: Any) -> pd.DataFrame:
    """Mean of the task means per agent: agent, mean, low, high, seeds (fewest), tasks."""
    return grouped_means(scores, "overall", **how)


def grouped_means(scores: pd.DataFrame, by: Literal["task", "domain", "overall"], **how: Any) -> pd.DataFrame:
    """Mean of task means per group of tasks; every task weighs the same however many seeds it has.

    `how` are the further arguments of `learning_curves`.
    """
    curves = scores.assign(step=0, success=scores["score"])
    return learning_curves(curves, by, **how).drop(columns="step")


def learning_curves(
    evaluations: pd.DataFrame,
    by: Literal["task", "domain", "overall"] = "task",
    repetitions: int = REPETITIONS,
    seed: int = 0,
    interval: Interval = "corrected",
    bounded: bool = True,
) -> pd.DataFrame:
    """Mean success and its interval at every evaluation step.

    A group's curve runs over the steps that all of its tasks and seeds have; a group without such steps has no rows.
    Where seeds are drawn (`repetitions` and `seed` say how), it is as whole curves. What is not `bounded` may lie
    outside of [0, 1].

    Returns:
        agent, the group (task and domain, or domain, or nothing), step, mean, low, high, seeds (the fewest of
        any task), tasks.
    """
    names = {"task": ["task", "domain"], "domain": ["domain"], "overall": []}[by]
    groups: dict[tuple[str, ...], dict[str, tuple[np.ndarray, np.ndarray]]] = {}
    for (agent, task, domain), rows in evaluations.groupby(["agent", "task", "domain"]):
        key = (agent, *{"task": (task, domain), "domain": (domain,), "overall": ()}[by])
        groups.setdefault(key, {})[task] = _curves(agent, task, rows)
    draws = _Draws(interval, repetitions, seed)
    parts: list[dict[str, Any]] = []
    for key, tasks in sorted(groups.items()):
        shared = functools.reduce(np.intersect1d, [steps for steps, _ in tasks.values()])
        curves = {task: table[:, np.isin(steps, shared)] for task, (steps, table) in tasks.items()}
        fewest = min(len(table) for table in curves.values())
        if draws.corrected:
            low, high = student_interval(list(curves.values()), bounded)
        else:
            samples = [draws.weights(key[0], task, len(table)) @ table for task, table in curves.items()]
            low, high = draws.interval(np.mean(samples, axis=0), map(len, curves.values()))
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
    """Stack parts (each: arrays of one length, which may be 0, and single values) into one frame."""
    if not parts:
        return pd.DataFrame(columns=columns)
    lengths = [np.broadcast_shapes(*map(np.shape, part.values())) for part in parts]

    def stacked(name: str) -> np.ndarray:
        return np.concatenate([np.broadcast_to(p[name], shape) for p, shape in zip(parts, lengths, strict=True)])

    return pd.DataFrame({name: stacked(name) for name in columns})


def _reduce(statistic: Statistic, samples: Sequence[np.ndarray], counts: Sequence[int]) -> np.ndarray:
    """Apply the statistic to samples of shape (repetitions, draws), one per task; result (repetitions,).

    Pooled, a task weighs by its number of seeds, which `counts` has, however many were drawn of them.
    """
    if statistic == "mean":
        return np.mean([sample.mean(axis=1) for sample in samples], axis=0)
    pooled, total = np.concatenate(samples, axis=1), sum(counts)
    shares = [np.full(s.shape[1], n / (total * s.shape[1])) for s, n in zip(samples, counts, strict=True)]
    weights = np.concatenate(shares)
    if statistic == "optimality_gap":
        return 1 - np.minimum(pooled, 1) @ weights
    # The share that whole seeds are of the scores themselves, for draws too: they are fewer, and a quarter of them in
    # whole ones is another share.
    return trimmed_mean(pooled, weights, total // 4 / total)


def trimmed_mean(values: np.ndarray, weights: np.ndarray, cut: float) -> np.ndarray:
    """The mean of weighted values (repetitions, n) without a share `cut` of the weight at each end; (repetitions,).

    Args:
        weights: of the values, (n,), summing to 1. With equal ones, and n times `cut` whole, it is scipy's `trim_mean`.
    """
    order = np.argsort(values, axis=1)
    each = weights[order]
    ends = each.cumsum(axis=1)
    kept = np.maximum(0, np.minimum(ends, 1 - cut) - np.maximum(ends - each, cut))
    return (np.take_along_axis(values, order, axis=1) * kept).sum(axis=1) / (1 - 2 * cut)


def aggregate(
    scores: pd.DataFrame,
    statistics: Iterable[Statistic] = ("mean", "iqm", "optimality_gap"),
    repetitions: int = REPETITIONS,
    seed: int = 0,
    interval: Interval = "corrected",
) -> pd.DataFrame:
    """Aggregates over all tasks with their intervals.

    "mean" is the mean of the task means; "iqm" the mean of the middle half of all (task, seed) scores pooled;
    "optimality_gap" the mean of how far scores fall short of 1. Pooled statistics weigh a task by its seeds,
    as defined in the field; the weights are equal where all tasks have as many.

    Returns:
        agent, statistic, value, low, high, seeds (fewest), tasks.
    """
    rows = []
    draws = _Draws(interval, repetitions, seed)
    for agent, tasks in _strata(scores).items():
        drawn = [v[draws.seeds(agent, task, len(v))] for task, v in tasks.items()]
        counts = [len(values) for values in tasks.values()]
        fewest = min(counts)
        for statistic in statistics:
            value = _reduce(statistic, [values[None] for values in tasks.values()], counts)[0]
            if statistic == "mean" and draws.corrected:
                low, high = student_interval([values[:, None] for values in tasks.values()])[:, 0]
            else:
                low, high = draws.interval(_reduce(statistic, drawn, counts), counts)
            rows.append((agent, statistic, value, float(low), float(high), fewest, len(tasks)))
    return pd.DataFrame(rows, columns=["agent", "statistic", "value", "low", "high", "seeds", "tasks"])


def probability_of_improvement(
    scores: pd.DataFrame,
    pairs: Iterable[tuple[str, str]] | None = None,
    repetitions: int = REPETITIONS,
    seed: int = 0,
    interval: Interval = "corrected",
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
    draws = _Draws(interval, repetitions, seed)
    weights = {
        (agent, task): draws.weights(agent, task, len(values))
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
        counts = [min(len(strata[x][task]), len(strata[y][task])) for task in common]
        low, high = draws.interval(samples, counts)
        rows.append((x, y, float(value), float(low), float(high), len(common), min(counts)))
    return pd.DataFrame(rows, columns=["x", "y", "value", "low", "high", "tasks", "seeds"])


def performance_profiles(
    scores: pd.DataFrame,
    thresholds: Sequence[float] | None = None,
    repetitions: int = REPETITIONS,
    seed: int = 0,
    interval: Interval = "corrected",
) -> pd.DataFrame:
    """Fraction of the (task, seed) scores above each threshold.

    Args:
        thresholds: by default 0, 0.01, ..., 1.

    Returns:
        agent, threshold, fraction, low, high, seeds (fewest), tasks.
    """
    points = np.linspace(0, 1, 101) if thresholds is None else np.asarray(thresholds, dtype=float)
    draws = _Draws(interval, repetitions, seed)
    parts: list[dict[str, Any]] = []
    for agent, tasks in _strata(scores).items():
        pooled = np.concatenate(list(tasks.values()))
        above = (pooled[:, None] > points).astype(float)
        shares = [
            draws.weights(agent, task, len(values)) * (len(values) / len(pooled)) for task, values in tasks.items()
        ]
        fewest = min(len(values) for values in tasks.values())
        low, high = draws.interval(np.concatenate(shares, axis=1) @ above, map(len, tasks.values()))
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


def near_best_within(values: Sequence[float], groups: Sequence[str], percent: float = 95) -> np.ndarray:
    """`near_best` within each group (a regime); alone among several groups a value is the best of nothing.

    NaN, which is no figure, keeps none company.
    """
    array, names = np.asarray(values, dtype=float), np.asarray(groups, dtype=object)
    best = np.zeros(array.shape, dtype=bool)
    several = len(set(groups)) > 1
    for group in set(groups):
        own = names == group
        best[own] = near_best(array[own], percent) & ((~np.isnan(array[own])).sum() > 1 or not several)
    return best


def caption(last: int, scores: pd.DataFrame, repetitions: int = REPETITIONS) -> str:
    """Say how the figures were made: the aggregation, the seeds and the interval."""
    what = "the final evaluation" if last == 1 else f"the mean of the last {last} evaluations"
    counts = sorted(scores.groupby(["agent", "task"])["seed"].nunique().unique()) if len(scores) else [0]
    seeds = f"{counts[0]}" if counts[0] == counts[-1] else f"{counts[0]} to {counts[-1]}"
    plural = "" if counts == [1] else "s"
    text = f"Success at {what}, {seeds} seed{plural} per task"
    if counts[0] < 2:
        return f"{text}; one seed has no interval."
    few = "; of two seeds these say little" if counts[0] == 2 else ""
    how = f"Student's of means, of other statistics a bootstrap corrected for few seeds, {repetitions:,} repetitions"
    return f"{text}; 95% intervals over seeds, tasks as strata ({how}){few}."
