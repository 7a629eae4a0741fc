"""A permutation test and a bootstrap over tasks and seeds whose error rates are what they claim, at few seeds too.

A *pair* is what two agents scored on one task: (x, y, together), arrays (S, seeds of x) and (S, seeds of y), with a
leading axis of S separate data sets (1 for one's own, many in a simulation). `together` says that column k of both is
the same seed on the same batches, so that scores are compared seed by seed. A difference over several tasks is the
mean of the tasks' differences of means: tasks weigh the same however many seeds they have.

scipy has the test and the bootstrap of one task (`scipy.stats.permutation_test`, `bootstrap`), by which these are
tested; it has neither with tasks as strata.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Sequence

import numpy as np

Pair = tuple[np.ndarray, np.ndarray, bool]
Kind = tuple[int, int, bool]
"""Seeds of x, seeds of y, whether they are compared seed by seed: what the arrangements of a pair depend on."""
ARRANGEMENTS = 10_000
"""Where there are more ways to exchange the agents' labels than this, so many are drawn."""
NO_SPREAD = 1e-10
"""Added to squared standard errors (of fractions): seeds that all score the same have a spread of rounding errors."""


def permutation_test(pairs: Sequence[Pair], most: int = ARRANGEMENTS, seed: int = 0) -> np.ndarray:
    """p-values (S,), two-sided, that the agents' scores have the same distribution on every task.

    Under that hypothesis an agent's name can be exchanged with the other's among the seeds of each task (Fisher, 1935;
    Pitman, 1937), or within each seed where seeds are compared one by one. The statistic is the mean difference over
    tasks divided by its standard error (tasks' Welch errors, independent), because then the test also holds,
    approximately, where only the means are the same but numbers of seeds and spreads differ (Janssen, Statistics &
    Probability Letters 36, 1997; Chung and Romano, arXiv 1304.5939). All arrangements are gone through where they are
    at most `most`; else so many are drawn, the true one among them, which keeps the error rate (Phipson and Smyth,
    arXiv 1603.05766). The p-value is twice that of the smaller side, as scipy's.
    """
    kinds = tuple(kind_of(pair) for pair in pairs)
    difference: np.ndarray | float = 0.0
    variance: np.ndarray | float = 0.0
    for pair, chosen in zip(pairs, arrangements(kinds, most, seed), strict=True):
        of_task, error = _differences(pair, chosen.astype(float))
        difference, variance = difference + of_task, variance + error
    statistic = difference / np.sqrt(variance + NO_SPREAD * len(pairs) ** 2)
    true = statistic[:, :1]
    tie = 1e-7 * np.abs(true)
    sides = (statistic <= true + tie).mean(axis=1), (statistic >= true - tie).mean(axis=1)
    return np.minimum(1.0, 2 * np.minimum(*sides))


def smallest_p(kinds: Sequence[Kind], most: int = ARRANGEMENTS) -> float:
    """The smallest p-value that `permutation_test` can have: 0.1 with three seeds against three on one task."""
    return min(1.0, 2 / min(most, math.prod(_count(kind) for kind in kinds)))


def kind_of(pair: Pair) -> Kind:
    """The kind of a pair."""
    return pair[0].shape[1], pair[1].shape[1], pair[2]


def _count(kind: Kind) -> int:
    """In how many ways labels can be exchanged."""
    x, y, together = kind
    return 2**x if together else math.comb(x + y, x)


@functools.lru_cache(maxsize=2)
def arrangements(kinds: tuple[Kind, ...], most: int = ARRANGEMENTS, seed: int = 0) -> tuple[np.ndarray, ...]:
    """For each task (arrangements, places): which pooled scores are x's (1, else 0), or which seeds keep sign (1, -1).

    The first row is the true one. Drawn independently for every task where there are more than `most` in all.
    """
    counts = [_count(kind) for kind in kinds]
    if math.prod(counts) <= most:
        places = np.unravel_index(np.arange(math.prod(counts)), counts)
        return tuple(_all(kind)[place] for kind, place in zip(kinds, places, strict=True))
    stream = np.random.default_rng(seed)
    return tuple(_drawn(kind, most, stream) for kind in kinds)


def _all(kind: Kind) -> np.ndarray:
    """All arrangements of one task, the true one first."""
    x, y, together = kind
    if together:
        return np.array(list(itertools.product((1, -1), repeat=x)), dtype=np.int8)
    rows = np.zeros((_count(kind), x + y), dtype=np.int8)
    for row, places in zip(rows, itertools.combinations(range(x + y), x), strict=True):
        row[list(places)] = 1
    return rows


def _drawn(kind: Kind, rows: int, stream: np.random.Generator) -> np.ndarray:
    """Arrangements of one task drawn at random, the true one first."""
    x, y, together = kind
    if together:
        drawn = stream.choice(np.array([1, -1], dtype=np.int8), (rows, x))
        drawn[0] = 1
        return drawn
    true = np.repeat(np.array([1, 0], dtype=np.int8), [x, y])
    drawn = stream.permuted(np.tile(true, (rows, 1)), axis=1)
    drawn[0] = true
    return drawn


def _differences(pair: Pair, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Difference of means and its squared standard error under each arrangement: two arrays (S, arrangements)."""
    x, y, together = pair
    if together:
        differences = x - y
        mean = differences @ chosen.T / x.shape[1]
        spread = (differences**2).mean(axis=1, keepdims=True) - mean**2
        return mean, np.maximum(spread, 0) / (x.shape[1] - 1)
    pooled = np.concatenate([x, y], axis=1)
    pooled = pooled - pooled.mean(axis=1, keepdims=True)
    sums, squares = pooled @ chosen.T, pooled**2 @ chosen.T
    mean_x, error_x = _moments(sums, squares, x.shape[1])
    all_squares = (pooled**2).sum(axis=1, keepdims=True)
    mean_y, error_y = _moments(-sums, all_squares - squares, y.shape[1])
    return mean_x - mean_y, error_x + error_y


def _moments(sums: np.ndarray, squares: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean and its squared standard error from sums of n scores and of their squares."""
    mean = sums / n
    return mean, np.maximum(squares / n - mean**2, 0) / (n - 1)


def holm(p: Sequence[float]) -> np.ndarray:
    """p-values corrected for their number, so that one false rejection among all has the level's chance at most.

    Holm, Scandinavian Journal of Statistics 6 (1979): the smallest times their number m, the next times m - 1, ...,
    none smaller than the one before. It needs no independence: all agents are compared with the same baseline.
    """
    values = np.asarray(p, dtype=float)
    order = np.argsort(values, kind="stable")
    steps = np.maximum.accumulate(values[order] * np.arange(len(values), 0, -1))
    corrected = np.empty(len(values))
    corrected[order] = np.minimum(1.0, steps)
    return corrected


def weights(n: int, repetitions: int, stream: np.random.Generator) -> np.ndarray:
    """The share of each of n seeds (or tasks) in bootstrap samples of n - 1 of them: (repetitions, n).

    Rows sum to 1. With n - 1 draws the spread of a sample's mean is that of the mean of n seeds; with n draws it is too
    small, by an eighth at 4 seeds, and 95% intervals of many tasks of 4 seeds hold 91% (Rao and Wu, JASA 83, 1988).
    """
    return stream.multinomial(n - 1, np.full(n, 1 / n), size=repetitions) / (n - 1)


def weights_apart(
    kind: Kind, repetitions: int, of_x: np.random.Generator, of_y: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """`weights` of x's seeds and of y's, drawn apart, from a stream each.

    Of seeds that are compared one by one those of x are drawn again where both are one and the same seed alone.
    """
    x, y, together = kind
    drawn = weights(x, repetitions, of_x), weights(y, repetitions, of_y)
    while together and (same := (drawn[0] * drawn[1]).sum(axis=1) > 1 - 1e-9).any():
        drawn[0][same] = weights(x, int(same.sum()), of_x)
    return drawn


def same_tasks(pairs: Sequence[Pair], shares: Sequence[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """Bootstrap samples (repetitions, S) of the difference over *these tasks*, with other seeds.

    Args:
        pairs: one a task.
        shares: `weights` of both agents' seeds, one pair a task; y's are both's where seeds are compared one by one.
    """
    samples = [
        of_y @ (x - y).T if together else of_x @ x.T - of_y @ y.T
        for (x, y, together), (of_x, of_y) in zip(pairs, shares, strict=True)
    ]
    return np.mean(samples, axis=0)


def improvement(pairs: Sequence[Pair]) -> np.ndarray:
    """The probability of improvement (S,): that a run of x scores above one of y, drawn apart, on a task drawn at
    random, a tie counting half (Agarwal et al., arXiv 2108.13264, section 4.3).

    Where seeds are compared one by one only runs of different seeds count, for two on the same batches are not drawn
    apart, and would be one in n of n seeds. NaN where there is but one pair of seeds.
    """
    counted = [_apart(pair) for pair in pairs]
    if not all(apart.any() for apart in counted):
        return np.full(len(pairs[0][0]), math.nan)
    return np.mean([_wins(pair)[:, apart].mean(axis=1) for pair, apart in zip(pairs, counted, strict=True)], axis=0)


def improvements(pairs: Sequence[Pair], shares: Sequence[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """Bootstrap samples (repetitions, S) of `improvement` on these tasks, with other seeds.

    Both agents' seeds are drawn apart even where they are compared one by one: runs on the same batches are rather
    alike than unlike, so that the interval is no narrower than it should be, and drawing pairs would leave one of three
    or four seeds without width where these come in the same order.

    Args:
        pairs: one a task.
        shares: `weights_apart` of each.
    """
    samples = []
    for pair, (of_x, of_y) in zip(pairs, shares, strict=True):
        apart = _apart(pair).astype(float)
        counted = ((of_x @ apart) * of_y).sum(axis=1)
        won = np.einsum("rx,sxy,ry->rs", of_x, _wins(pair) * apart, of_y, optimize=True)
        samples.append(won / counted[:, None])
    return np.mean(samples, axis=0)


def _wins(pair: Pair) -> np.ndarray:
    """Whether x's seeds score above y's (S, seeds of x, seeds of y): 1, 1/2 of a tie, 0."""
    return 0.5 + 0.5 * np.sign(pair[0][:, :, None] - pair[1][:, None, :])


def _apart(pair: Pair) -> np.ndarray:
    """Which seeds of x and y are no pair (seeds of x, seeds of y)."""
    x, y, together = kind_of(pair)
    return ~np.eye(x, dtype=bool) if together else np.ones((x, y), dtype=bool)


def other_tasks(pairs: Sequence[Pair], repetitions: int, stream: np.random.Generator) -> np.ndarray:
    """Bootstrap samples (repetitions, S) of the difference over *other tasks like these*.

    Tasks are drawn with all their seeds. Drawing seeds anew within drawn tasks would count the seeds' spread twice, for
    the tasks' differences have it in them already (Davison and Hinkley, Bootstrap Methods, 1997, section 3.8).
    """
    differences = np.array([x.mean(axis=1) - y.mean(axis=1) for x, y, _ in pairs])
    return weights(len(pairs), repetitions, stream) @ differences
