"""How often a difference of so many points would be shown with so many seeds: by simulation, from seeds that there are.

Simulated scores of an agent on a task are draws, with replacement, from how its seeds lay around their mean there; one
agent is lifted by the difference on every task; the two are put to the test that `analysis.compare` uses.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from analysis import published
from analysis.comparing.differences import LEVEL
from analysis.comparing.resampling import permutation_test, smallest_p
from analysis.names import domain_of
from benchmark.common.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

Spread = Mapping[str, np.ndarray]
"""By task: how seeds lie around their mean, fractions, scaled so that their variance is unbiased."""
TRIED = (2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 24, 32, 48, 64, 96, 128)
POWER = 0.8
ENOUGH = 0.95
"""From this power on more seeds are not tried."""
FLAT = 0.01
"""Tasks on which both agents' standard deviation is below this measure nothing: most are unsolved by either."""
STAND_INS = 3
EXACT = 1000
"""Arrangements: all where they are no more."""
SIMULATIONS = {"overall": 1000, "domain": 300, "task": 100}
"""Of each group of tasks of a scope; the power is the mean over groups."""


def known_tasks(scores: pd.DataFrame) -> list[str]:
    """The tasks on which some agent has two seeds, in the order of the scores."""
    counts = scores.groupby(["task", "agent"])["seed"].nunique().groupby("task").max()
    return [task for task in dict.fromkeys(scores["task"]) if counts[task] > 1]


def spread_of(agent: str, scores: pd.DataFrame, tasks: Iterable[str]) -> tuple[Spread, str]:
    """How an agent's seeds lie around their mean on these tasks, and from where that is known, in words.

    From its own seeds where it has two or more on every task. Else from other agents': on each task of the three whose
    success is nearest to the agent's published figure; of all agents together where there is none.

    Args:
        agent: its name.
        scores: `Results.scores`; those who have one seed on a task are left out there.
        tasks: those to be simulated.

    Raises a UserError for a task on which no agent has two seeds (`known_tasks`).
    """
    tasks = list(tasks)
    if lacking := [task for task in tasks if task not in known_tasks(scores)]:
        raise UserError(f"no agent has two seeds on {lacking[0]}; how seeds differ needs two of one agent at least")
    groups = {
        task: {name: rows["score"].to_numpy(float) for name, rows in of_task.groupby("agent") if len(rows) > 1}
        for task, of_task in scores[scores["task"].isin(tasks)].groupby("task")
    }
    own = {task: _around_mean(of_task[agent]) for task, of_task in groups.items() if agent in of_task}
    if len(own) == len(groups):
        counts = sorted({len(values) for values in own.values()})
        many = str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
        return own, f"its own {many} seeds"
    figures = published.by_task()
    known = figures[figures["agent"] == agent].groupby("task")["success"].first()
    if not known.reindex(list(groups)).notna().all():
        pooled = {
            task: np.concatenate([_around_mean(values) for values in of_task.values()])
            for task, of_task in groups.items()
        }
        return pooled, "the seeds of all other agents together"
    return (
        {
            task: np.concatenate(
                [
                    _around_mean(values)
                    for values in sorted(of_task.values(), key=lambda v: abs(v.mean() - known[task]))[:STAND_INS]
                ]
            )
            for task, of_task in groups.items()
        },
        f"on each task the seeds of the {STAND_INS} agents whose success is nearest to its published figure",
    )


def _around_mean(values: np.ndarray) -> np.ndarray:
    """Deviations from the mean, scaled by the root of n / (n - 1)."""
    return (values - values.mean()) * math.sqrt(len(values) / (len(values) - 1))


def power(
    x: Spread,
    y: Spread,
    tasks: Sequence[str],
    difference: float,
    seeds: int,
    simulations: int,
    comparisons: int = 1,
    seed: int = 0,
) -> float:
    """How often the test over these tasks together shows the difference, with as many seeds of each agent on each.

    Args:
        x, y: the agents' spreads.
        tasks: over which the mean is taken.
        difference: of success, a fraction; the same on every task.
        seeds: of each agent on each task.
        simulations: repetitions.
        comparisons: in how large a family the test stands; the level is divided by it.
        seed: of the random draws.
    """
    level = LEVEL / comparisons
    kinds = [(seeds, seeds, False)] * len(tasks)
    if smallest_p(kinds, most=10**9) > level:
        return 0.0
    stream = np.random.default_rng([seed, seeds])
    pairs = [
        (difference + stream.choice(x[t], (simulations, seeds)), stream.choice(y[t], (simulations, seeds)), False)
        for t in tasks
    ]
    # A round number of arrangements at the level, as an exact test has where there are no more.
    most = max(400 * comparisons, EXACT)
    return float((permutation_test(pairs, most, seed) <= level + 1e-9).mean())


def curve(
    x: Spread, y: Spread, scope: str, difference: float, comparisons: int = 1, seeds: Sequence[int] = TRIED
) -> dict[int, float]:
    """Power by number of seeds, averaged over the groups of tasks of a scope, up to where it is `ENOUGH`.

    Groups of tasks on which seeds do not differ (`flat_tasks`) are left out, where there are others.
    """
    groups: dict[str, list[str]] = {}
    for task in x:
        groups.setdefault({"overall": "", "domain": domain_of(task), "task": task}[scope], []).append(task)
    flat = flat_tasks(x, y)
    chosen = [tasks for tasks in groups.values() if not flat.issuperset(tasks)] or list(groups.values())
    found: dict[int, float] = {}
    for count in seeds:
        found[count] = float(
            np.mean([power(x, y, g, difference, count, SIMULATIONS[scope], comparisons) for g in chosen])
        )
        if found[count] >= ENOUGH:
            break
    return found


def flat_tasks(x: Spread, y: Spread) -> set[str]:
    """Tasks on which neither agent's seeds differ by more than a success or two: any difference shows there."""
    return {task for task in x if max(np.sqrt(np.mean(side[task] ** 2)) for side in (x, y)) < FLAT}


def needed(curve: Mapping[int, float], wanted: float = POWER) -> int | None:
    """The fewest of the numbers of seeds that reach the power; None where none does."""
    return next((seeds for seeds, reached in sorted(curve.items()) if reached >= wanted), None)
