"""Ranks of agents over tasks, and which of them a number of tasks can tell apart."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from scipy import stats

from analysis.averaging.statistics import CONFIDENCE, student_interval

TIES = 10
"""Digits to which means are ranked: equal ones that were added in another order tie."""


def mean_ranks(scores: pd.DataFrame) -> pd.DataFrame:
    """Mean rank of each agent over tasks that all of them have: agent, rank, low, high, tasks; the best first.

    Agents are ranked on each task by their mean over seeds, 1 the best, ties sharing their mean rank. The interval is
    Student's over tasks: it is for other tasks like these.
    """
    means = scores.groupby(["task", "agent"])["score"].mean().unstack()
    if means.isna().to_numpy().any():
        raise ValueError("an agent lacks a task")
    ranks = means.round(TIES).rank(axis=1, ascending=False)
    low, high = student_interval([ranks.to_numpy()], bounded=False)
    limits = np.clip([low, high], 1, ranks.shape[1])
    table = pd.DataFrame({"agent": ranks.columns, "rank": ranks.mean().to_numpy(), "low": limits[0], "high": limits[1]})
    return table.assign(tasks=len(ranks)).sort_values("rank", kind="stable").reset_index(drop=True)


def critical_difference(agents: int, tasks: int) -> float:
    """The difference of mean ranks from which two of so many agents are told apart by so many tasks, at 95%.

    Nemenyi's test after Friedman's, as in Demšar, "Statistical comparisons of classifiers over multiple data sets",
    JMLR 7 (2006), section 3.2.2: the studentized range's quantile for infinitely many degrees of freedom over the root
    of 2, times the standard error of a difference of mean ranks. It holds for all pairs at once.
    """
    quantile = float(stats.studentized_range.ppf(CONFIDENCE, agents, np.inf)) / math.sqrt(2)
    return quantile * math.sqrt(agents * (agents + 1) / (6 * tasks))


def not_told_apart(ranks: np.ndarray, difference: float) -> list[tuple[int, int]]:
    """The largest groups (first, last) of neighbours among rising ranks of which no two differ by more than that."""
    ends = [int(np.searchsorted(ranks, rank + difference, side="right")) - 1 for rank in ranks]
    groups = [(first, last) for first, last in enumerate(ends) if last > first]
    return [(i, j) for i, j in groups if not any(a <= i and j <= b and (a, b) != (i, j) for a, b in groups)]
