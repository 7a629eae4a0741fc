"""Agents against a baseline: differences with intervals, p-values, and what they allow to say."""

from __future__ import annotations

import math
import warnings
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from scipy import stats

from analysis.averaging.statistics import expanded_percentiles
from analysis.comparing.resampling import (
    ARRANGEMENTS,
    Kind,
    Pair,
    holm,
    improvement,
    improvements,
    kind_of,
    other_tasks,
    permutation_test,
    same_tasks,
    smallest_p,
    weights_apart,
)
from analysis.names import DOMAINS, GENERATED, TASKS, agents_in_order, domain_of, in_order
from analysis.regimes import Facts, by_regime
from benchmark.runs.run import AUTHORS

if TYPE_CHECKING:
    import pandas as pd

LEVEL = 0.05
REPETITIONS = 4_000
SCOPES = ("overall", "domain", "task")
FEWEST_TASKS = 10
"""Fewer tasks say nothing of other tasks."""
MOST = {"overall": ARRANGEMENTS, "domain": ARRANGEMENTS, "task": 100_000}
"""Arrangements drawn: single tasks are many, and a p-value that is to survive their number must be able to be small."""
NOWHERE = (math.nan, math.nan)


@dataclass(frozen=True)
class Comparison:
    """One agent against the baseline over some tasks; differences are fractions of success."""

    agent: str
    scope: str
    """One of `SCOPES`."""
    where: str
    """The tasks in print."""
    tasks: tuple[str, ...]
    kinds: tuple[Kind, ...]
    difference: float
    interval: tuple[float, float]
    """95%, for other seeds on these tasks; NaN where a task has one seed."""
    other_tasks: tuple[float, float]
    """95%, for other tasks like these; NaN for fewer than ten tasks."""
    improvement: float
    """Chance that a run of the agent scores above one of the baseline: `resampling.improvement`."""
    improvement_interval: tuple[float, float]
    floor: float
    """The smallest p-value that these numbers of seeds allow."""
    p: float
    """NaN where no result could reach the level, or where a task has one seed: then there is no test."""
    corrected: float = math.nan
    """p after Holm's correction for the family."""
    family: int = 0
    """How many tests it was corrected for."""

    @property
    def seeds(self) -> str:
        """ "4 against 12", "3-4 against 12"."""
        sides = ([kind[side] for kind in self.kinds] for side in (0, 1))
        return " against ".join(f"{min(n)}-{max(n)}" if min(n) < max(n) else str(n[0]) for n in sides)


def compare(
    scores: pd.DataFrame,
    baseline: str,
    scopes: Sequence[str] = ("overall", "task"),
    orders: Mapping[tuple[str, str, int], str] | None = None,
    seed: int = 0,
    bounded: bool = True,
    facts: Mapping[str, Facts] | None = None,
) -> list[Comparison]:
    """Every other agent of the scores against the baseline, on the tasks that both have.

    Args:
        scores: `Results.scores`.
        baseline: an agent of the scores.
        scopes: over which tasks: all of them ("overall"), each domain's, each task alone.
        orders: on which batches, and in which order, a seed trained, by (agent, task, seed): see `data_orders`.
            Without it no scores are compared seed by seed.
        seed: of the random draws.
        bounded: whether scores are from 0 to 1, as success, so that intervals may be cut at -1 and 1.
        facts: what the baseline's scores were made under, by task: tasks of several regimes, or on published and on
            generated data, are no group together.

    Returns:
        By scope in the order asked for, then by agent, then by task; a scope whose every group is one task is left
        out where tasks are asked for too. Families for Holm's correction are the scopes: all agents overall, all
        agents times all domains, all agents times all tasks.
    """
    table = _by_task(scores)
    agents = [agent for agent in agents_in_order(table) if agent != baseline]
    drawn = _Draws(seed)
    found: list[Comparison] = []
    for scope in scopes:
        of_scope = []
        for agent in agents:
            common = in_order(table[agent].keys() & table[baseline].keys(), TASKS)
            pairs = {
                task: _pair(table[agent][task], table[baseline][task], (agent, baseline, task), orders or {})
                for task in common
            }
            of_scope += [
                _one(agent, baseline, (scope, where), group, pairs, drawn, bounded)
                for where, group in _groups(common, scope, facts or {})
            ]
        # Tasks alone are rows of the scope "task" already, with the same numbers.
        again = scope != "task" and "task" in scopes and all(len(one.tasks) == 1 for one in of_scope)
        found += [] if again else _corrected(of_scope)
    return found


def _by_task(scores: pd.DataFrame) -> dict[str, dict[str, dict[int, float]]]:
    """{agent: {task: {seed: score}}}."""
    table: dict[str, dict[str, dict[int, float]]] = {}
    for row in scores.sort_values(["agent", "task", "seed"]).itertuples():
        table.setdefault(row.agent, {}).setdefault(row.task, {})[int(row.seed)] = float(row.score)
    return table


def _groups(tasks: Sequence[str], scope: str, facts: Mapping[str, Facts]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """The sets of tasks of a scope, each of one regime, with their name in print."""
    if scope == "task":
        yield from ((task, (task,)) for task in tasks)
        return
    # Where there is no record, the name of a task says whether its data were generated.
    known = {task: facts.get(task) or Facts(data="generated" if task.endswith(GENERATED) else "") for task in tasks}
    places = {task: domain_of(task.removesuffix(GENERATED)) if scope == "domain" else "" for task in tasks}
    for place in in_order(places.values(), DOMAINS):
        groups = by_regime({task: known[task] for task in tasks if places[task] == place})
        kinds = Counter(_generated(group) for _, group in groups)
        for regime, group in groups:
            many = f"{'all' if len(groups) == 1 else f'{len(group)} of'} {len(tasks)} tasks"
            name = f"{place or many}{_generated(group)}{f': {regime}' if kinds[_generated(group)] > 1 else ''}"
            yield group[0] if len(group) == 1 and not place else name, tuple(group)


def _generated(tasks: Sequence[str]) -> str:
    """What ends the name of tasks of one regime whose data were generated here, "" of others."""
    return GENERATED if tasks[0].endswith(GENERATED) else ""


def _pair(
    x: Mapping[int, float],
    y: Mapping[int, float],
    names: tuple[str, str, str],
    orders: Mapping[tuple[str, str, int], str],
) -> Pair:
    """Both agents' scores on a task; together where they have the same seeds, on the same batches in the same order."""
    agent, baseline, task = names
    together = x.keys() == y.keys() and all(
        bool(order := orders.get((agent, task, seed))) and order == orders.get((baseline, task, seed)) for seed in x
    )
    return np.array([list(x.values())]), np.array([list(y.values())]), together


def data_orders(runs: pd.DataFrame, evaluations: pd.DataFrame) -> dict[tuple[str, str, int], str]:
    """What says on which batches a seed of one's own runs trained, by (agent, task, seed).

    Two seeds of the same number see the same batches where agent, data, batch size, chunk length and JAX are the same:
    variants of one agent. Of two different agents records do not say it, and they are not compared seed by seed; nor
    are runs by the authors' code, which draws its batches otherwise.

    Args:
        runs: `Runs.runs`.
        evaluations: `Results.evaluations`: agents and tasks are known by their names there.
    """
    found: dict[tuple[str, str, int], str] = {}
    names = evaluations[["run", "agent", "task"]].drop_duplicates()
    for row in runs.merge(names, on="run", suffixes=("", "_named")).itertuples():
        sizes = [row.hyperparameters.get(name) for name in ("batch_size", "chunk_length")]
        if row.fingerprint and row.jax and None not in sizes and not row.label.endswith(AUTHORS):
            order = f"{row.agent} {row.fingerprint} {sizes} {row.jax}"
            found |= {(row.agent_named, row.task_named, seed): order for seed in row.seeds}
    return found


class _Draws:
    """Bootstrap samples of seeds: every (agent, task) from a stream of its own, so that others do not change it."""

    def __init__(self, seed: int):
        self.seed = seed

    def stream(self, *names: str) -> np.random.Generator:
        """The random stream of these names."""
        return np.random.default_rng([self.seed, *(zlib.crc32(name.encode()) for name in names)])

    def shares(self, pair: Pair, agent: str, baseline: str, task: str) -> tuple[np.ndarray, np.ndarray]:
        """Weights (repetitions, seeds) of both agents' seeds, drawn apart."""
        return weights_apart(kind_of(pair), REPETITIONS, self.stream(agent, task), self.stream(baseline, task))


def _one(
    agent: str,
    baseline: str,
    where: tuple[str, str],
    tasks: tuple[str, ...],
    pairs: Mapping[str, Pair],
    draws: _Draws,
    bounded: bool,
) -> Comparison:
    """One agent over one set of tasks, which are `where` (scope, name in print), its p-value not corrected yet."""
    chosen = [pairs[task] for task in tasks]
    kinds = tuple(kind_of(pair) for pair in chosen)
    differences = np.array([x.mean() - y.mean() for x, y, _ in chosen])
    interval, of_chance = NOWHERE, NOWHERE
    several = min(min(kind[:2]) for kind in kinds) > 1
    if several:
        shares = [draws.shares(pair, agent, baseline, task) for task, pair in zip(tasks, chosen, strict=True)]
        interval = (
            bounds(expanded_percentiles(same_tasks(chosen, shares), freedom_of(kinds)))
            if len(tasks) > 1
            else of_one_task(chosen[0], bounded)
        )
        of_chance = bounds(expanded_percentiles(improvements(chosen, shares), freedom_of(kinds)))
    elsewhere = NOWHERE
    if len(tasks) >= FEWEST_TASKS:
        samples = other_tasks(chosen, REPETITIONS, draws.stream(agent, baseline, *tasks))
        elsewhere = bounds(expanded_percentiles(samples, len(tasks) - 1))
    most = MOST[where[0]]
    floor = smallest_p(kinds, most)
    p = float(permutation_test(chosen, most, draws.seed)[0]) if several and floor <= LEVEL else math.nan
    chance = float(improvement(chosen)[0])
    return Comparison(
        agent, *where, tasks, kinds, float(differences.mean()), interval, elsewhere, chance, of_chance, floor, p
    )


def bounds(interval: np.ndarray) -> tuple[float, float]:
    """An interval (2, 1) or (2,) as two numbers."""
    low, high = interval.ravel()
    return float(low), float(high)


def freedom_of(kinds: Sequence[Kind]) -> int:
    """Degrees of freedom of a difference over other seeds, at the least: those of the agent with fewer seeds."""
    return sum(min(kind[:2]) - 1 for kind in kinds)


def of_one_task(pair: Pair, bounded: bool = True) -> tuple[float, float]:
    """Student's interval of the difference on one task (Welch's where seeds are not paired), cut at -1 and 1 where
    scores are bounded.

    A bootstrap of a handful of seeds is too narrow: it has no more values than they have. Where no seed differs from
    another of its agent the interval is a point.
    """
    x, y = pair[0][0], pair[1][0]
    if np.ptp(x - y if pair[2] else np.concatenate([x - x.mean(), y - y.mean()])) < 1e-9:
        return float(x.mean() - y.mean()), float(x.mean() - y.mean())
    with warnings.catch_warnings():  # scipy warns where the seeds of one agent do not differ, which is no loss here
        warnings.filterwarnings("ignore", "Precision loss", RuntimeWarning)
        test = stats.ttest_rel(x, y) if pair[2] else stats.ttest_ind(x, y, equal_var=False)
    low, high = test.confidence_interval(1 - LEVEL)
    return (max(-1.0, float(low)), min(1.0, float(high))) if bounded else (float(low), float(high))


def _corrected(comparisons: Iterable[Comparison]) -> list[Comparison]:
    """The same with p-values corrected for the tests among them."""
    made = list(comparisons)
    tests = [i for i, one in enumerate(made) if not math.isnan(one.p)]
    for i, p in zip(tests, holm([made[i].p for i in tests]), strict=True):
        made[i] = replace(made[i], corrected=float(p), family=len(tests))
    return made


def verdict(one: Comparison, baseline: str) -> str:
    """What can and what cannot be concluded, in words."""
    if math.isnan(one.interval[0]):
        return "nothing: one seed has no spread"
    low, high = (f"{round(100 * bound, 1) + 0.0:+.1f}" for bound in one.interval)
    range_left = f"differences from {low} to {high} are compatible with these seeds"
    if math.isnan(one.p):
        return f"cannot be told with {one.seeds} seeds: no result could have p below {one.floor:.2g}; {range_left}"
    if one.corrected <= LEVEL:
        side = "above" if one.difference > 0 else "below"
        elsewhere = ""
        if not math.isnan(one.other_tasks[0]):
            shown = one.other_tasks[0] > 0 or one.other_tasks[1] < 0
            elsewhere = "; on other tasks like these too" if shown else "; not shown for other tasks like these"
        return f"{side} {baseline} on {'these tasks' if len(one.tasks) > 1 else 'this task'}{elsewhere}"
    if one.floor * one.family > LEVEL:
        why = f"with {one.seeds} seeds p is {one.floor:.2g} at least, too much for one of {one.family} comparisons"
        return f"no difference shown: {why}; {range_left}"
    if one.p <= LEVEL:
        return f"no difference shown among {one.family} comparisons, though one alone would be; {range_left}"
    return f"no difference shown; {range_left}"
