"""Do the methods come in the order in which they were published? Rank correlation, task by task, with its interval.

Spearman's ρ between the mean final success of each method here and its published figure on the same task (C. Spearman,
"The proof and measurement of association between two things", 1904); ties share their mean rank. The interval is the
percentile bootstrap over the seeds here, each method drawing among its own, the published figures held fixed: it says
what other seeds would have given at this size, not what another size would. Chance is the permutation distribution's.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from analysis import published
from analysis.averaging.ranks import TIES
from analysis.averaging.statistics import CONFIDENCE, REPETITIONS
from analysis.names import GENERATED, TASKS, in_order

FEWEST = 4
"""Methods below which an order says nothing."""
MOST_COUNTED = 12
"""Up to so many methods all orders are counted."""
DRAWN = 1_000_000
"""Orders that are drawn of more methods: the chance then has a standard error of 0.0005 at most, at 0.005 of 0.0001."""


@dataclass(frozen=True)
class Agreement:
    """How far two orders agree on a task."""

    task: str
    methods: int
    rho: float
    low: float
    """NaN, as `high`, where a method has one seed."""
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
    rho, chance = float(rank_correlation(means, theirs)), chance_among_orders(means, theirs, rng)
    if np.isnan(rho) or min(map(len, own)) < 2:
        return Agreement(task, len(own), rho, np.nan, np.nan, chance)
    drawn = np.stack([values[rng.integers(len(values), size=(REPETITIONS, len(values)))].mean(1) for values in own], 1)
    low, high = np.nanquantile(rank_correlation(drawn, theirs), [0.5 - CONFIDENCE / 2, 0.5 + CONFIDENCE / 2])
    return Agreement(task, len(own), rho, float(low), float(high), chance)


def rank_correlation(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Spearman's ρ (...) of arrays (..., n) and (n,); NaN where all of one are equal."""
    x, y = (stats.rankdata(side.round(TIES), axis=-1) - (len(other) + 1) / 2 for side in (one, other))
    size = np.sqrt((x**2).sum(axis=-1) * (y**2).sum())
    return np.divide((x * y).sum(axis=-1), size, out=np.full(size.shape, np.nan), where=size > 0)


def chance_among_orders(one: np.ndarray, other: np.ndarray, rng: np.random.Generator) -> float:
    """Probability of so large a |ρ| of arrays (n,) where one is in random order: of all orders up to `MOST_COUNTED`,
    else of `DRAWN` ones, the true one among them.
    """
    # Twice a rank is a whole number, so that nothing is rounded; ρ goes with the sum of products.
    x, y = (np.rint(2 * stats.rankdata(side.round(TIES))).astype(int) for side in (one, other))
    if len(x) <= MOST_COUNTED:
        orders = _orders_by_sum(x, y)
        sums = np.arange(len(orders))
    else:
        sums = np.append(x @ y, rng.permuted(np.tile(x.astype(np.int16), (DRAWN - 1, 1)), axis=1) @ y)
        orders = np.ones(DRAWN, dtype=int)
    away = np.abs(len(x) * sums - x.sum() * y.sum())
    return float(orders[away >= abs(len(x) * (x @ y) - x.sum() * y.sum())].sum() / orders.sum())


def _orders_by_sum(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """How many orders of x give each sum of products with y, 0, 1, ... (whole numbers above 0).

    One of x after the other takes a place of y that is free: what is counted is kept by the places that are taken.
    """
    most = int(np.sort(x) @ np.sort(y))
    orders = np.zeros((2 ** len(x), most + 1), dtype=np.int64)
    orders[0, 0] = 1
    for taken in range(len(orders) - 1):
        for place in (place for place in range(len(y)) if not taken >> place & 1):
            product = x[taken.bit_count()] * y[place]
            orders[taken | 1 << place, product:] += orders[taken, : most + 1 - product]
    return orders[-1]
