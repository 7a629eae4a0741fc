"""Do the methods come in the order in which they were published? Rank correlation, task by task, with its interval.

Spearman's ρ between the mean final success of each method here and its published figure on the same task (C. Spearman,
"The proof and measurement of association between two things", 1904); ties share their mean rank. The interval is the
percentile bootstrap over the seeds here, each method drawing among its own, the published figures held fixed: it says
what other seeds would have given at this size, not what another size would. Chance is the permutation distribution.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from analysis import published
from analysis.averaging.statistics import CONFIDENCE, REPETITIONS
from analysis.names import GENERATED, TASKS, in_order

FEWEST = 4
"""Methods below which an order says nothing."""


@dataclass(frozen=True)
class Agreement:
    """How far two orders agree on a task."""

    task: str
    methods: int
    rho: float
    low: float
    high: float
    chance: float
    """Probability of so large a |ρ| among random orders."""


def agreements(scores: pd.DataFrame, seed: int = 0) -> list[Agreement]:
    """Agreement on each task that has `FEWEST` methods with figures both here and published; `scores` as `Results` has
    them (agent, task, seed, score). A task learned from generated data is set against the published files' figures: of
    orders that is what is asked.
    """
    figures = {
        str(task): dict(zip(part["agent"], part["success"], strict=True))
        for task, part in published.by_task().groupby("task")
    }
    found = []
    for task in in_order(scores["task"].unique(), TASKS):
        own = {str(agent): part["score"].to_numpy() for agent, part in scores[scores["task"] == task].groupby("agent")}
        known = figures.get(task.removesuffix(GENERATED), {})
        names = [agent for agent in own if agent in known]
        if len(names) >= FEWEST:
            theirs = np.array([known[agent] for agent in names])
            found.append(_agreement(task, [own[agent] for agent in names], theirs, seed))
    return found


def _agreement(task: str, own: list[np.ndarray], theirs: np.ndarray, seed: int) -> Agreement:
    rng = np.random.default_rng(seed)
    means = np.array([values.mean() for values in own])
    rho = rank_correlation(means, theirs)
    if np.isnan(rho):
        return Agreement(task, len(own), rho, rho, rho, 1.0)
    drawn = np.stack([values[rng.integers(len(values), size=(REPETITIONS, len(values)))].mean(1) for values in own], 1)
    ends = [0.5 - CONFIDENCE / 2, 0.5 + CONFIDENCE / 2]
    low, high = np.nanquantile([rank_correlation(row, theirs) for row in drawn], ends)
    among_orders = stats.permutation_test(
        (means,),
        lambda order: rank_correlation(order, theirs),
        permutation_type="pairings",
        n_resamples=REPETITIONS,
        rng=rng,
    )
    return Agreement(task, len(own), rho, float(low), float(high), float(among_orders.pvalue))


def rank_correlation(one: np.ndarray, other: np.ndarray) -> float:
    """Spearman's ρ of two arrays (n,); NaN where all of one are equal."""
    if np.ptp(one) == 0 or np.ptp(other) == 0:
        return float("nan")
    return float(stats.spearmanr(one, other).statistic)
