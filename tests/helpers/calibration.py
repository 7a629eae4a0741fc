"""How often `analysis.comparing` sees a difference where there is none, by simulation.

    python -m tests.helpers.calibration --simulations 2000

Scores are like the archive's: 50 episodes, a chance of success that differs between tasks and between seeds, the same
distribution for both agents unless said otherwise. "mean only" has equal means but unequal spreads. A second table has
how often the interval of the probability of improvement misses it, with seeds compared one by one too.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass

import numpy as np

from analysis.averaging.statistics import expanded_percentiles
from analysis.comparing.differences import FEWEST_TASKS, LEVEL, freedom_of, of_one_task
from analysis.comparing.resampling import (
    Pair,
    improvement,
    improvements,
    kind_of,
    other_tasks,
    permutation_test,
    same_tasks,
    weights,
    weights_apart,
)

REPETITIONS = 1000
SPREAD = 0.15
"""Standard deviation between seeds of the chance of success, as the archive's better methods have on average."""


@dataclass(frozen=True)
class Setting:
    """Two agents without a difference, unless one is `ahead`, on some tasks."""

    name: str
    tasks: int
    x: tuple[int, ...]
    """Seeds of x, task after task in turn."""
    y: tuple[int, ...]
    spreads: tuple[float, float] = (SPREAD, SPREAD)
    ahead: float = 0.0
    """Of x's chance of success before y's."""
    shared: float | None = None
    """How many of the seeds, a fraction, lie as far from the middle in both agents: they are compared one by one."""


SETTINGS = (
    Setting("50 tasks, 4 against 4 seeds", 50, (4,), (4,)),
    Setting("50 tasks, 4 against 12 seeds", 50, (4,), (12,)),
    Setting("50 tasks, 2 against 2 seeds", 50, (2,), (2,)),
    Setting("50 tasks, 2 to 5 against 3 to 6 seeds", 50, (2, 3, 5), (6, 3)),
    Setting("50 tasks, 4 of spread 0.25 against 12 of 0.10", 50, (4,), (12,), (0.25, 0.10)),
    Setting("10 tasks, 4 against 4 seeds", 10, (4,), (4,)),
    Setting("5 tasks, 4 against 4 seeds", 5, (4,), (4,)),
    Setting("1 task, 4 against 4 seeds", 1, (4,), (4,)),
    Setting("1 task, 12 against 12 seeds", 1, (12,), (12,)),
)


CHANCES = (
    Setting("50 tasks, 4 against 4 seeds", 50, (4,), (4,), ahead=0.05),
    Setting("50 tasks, 4 pairs of seeds", 50, (4,), (4,), ahead=0.05, shared=0.75),
    Setting("50 tasks, 2 pairs of seeds", 50, (2,), (2,), ahead=0.05, shared=0.75),
    Setting("50 tasks, 4 pairs of seeds that share nothing", 50, (4,), (4,), ahead=0.05, shared=0.0),
    Setting("5 tasks, 4 against 4 seeds", 5, (4,), (4,), ahead=0.05),
    Setting("5 tasks, 4 pairs of seeds", 5, (4,), (4,), ahead=0.05, shared=0.75),
    Setting("1 task, 4 against 4 seeds", 1, (4,), (4,), ahead=0.05),
    Setting("1 task, 4 pairs of seeds", 1, (4,), (4,), ahead=0.05, shared=0.75),
    Setting("1 task, 12 against 12 seeds", 1, (12,), (12,), ahead=0.05),
    Setting("1 task, 12 pairs of seeds", 1, (12,), (12,), ahead=0.05, shared=0.75),
)
"""For the probability of improvement."""


def draw(setting: Setting, simulations: int, rng: np.random.Generator) -> list[Pair]:
    """Scores of both agents on each task, (simulations, seeds)."""
    pairs = []
    for task in range(setting.tasks):
        middle = rng.uniform(0.3, 0.7)
        sides, from_middle = [], np.empty(0)
        for counts, spread, ahead in zip((setting.x, setting.y), setting.spreads, (setting.ahead, 0), strict=True):
            size = (simulations, counts[task % len(counts)])
            # Symmetrical around the middle, so that clipping at 0 and 1 is rare and the mean is the middle's.
            own = rng.choice([-1, 1], size) * spread * rng.uniform(0.5, 1.4, size)
            if sides and setting.shared is not None:
                own = np.where(rng.random(size) < setting.shared, from_middle, own)
            from_middle = own
            sides.append(rng.binomial(50, np.clip(middle + ahead + own, 0, 1)) / 50)
        pairs.append((sides[0], sides[1], setting.shared is not None))
    return pairs


def errors(setting: Setting, simulations: int, seed: int = 0) -> float:
    """How often the permutation test's p-value is at most the level."""
    pairs = draw(setting, simulations, np.random.default_rng(seed))
    return float((permutation_test(pairs, most=200) <= LEVEL).mean())


def interval_errors(setting: Setting, simulations: int, seed: int = 0) -> tuple[float, float]:
    """How often 0 is outside of the interval for other seeds, and of that for other tasks (0 for one)."""
    stream = np.random.default_rng(seed)
    pairs = draw(setting, simulations, stream)
    shares = [tuple(weights(side.shape[1], REPETITIONS, stream) for side in pair[:2]) for pair in pairs]
    if setting.tasks == 1:
        x, y, _ = pairs[0]
        return outside(np.array([of_one_task((x[[i]], y[[i]], False)) for i in range(simulations)]).T), 0.0
    kinds = [kind_of(pair) for pair in pairs]
    elsewhere = outside(expanded_percentiles(other_tasks(pairs, REPETITIONS, stream), setting.tasks - 1))
    return outside(expanded_percentiles(same_tasks(pairs, shares), freedom_of(kinds))), elsewhere


def chance_errors(setting: Setting, simulations: int, seed: int = 0) -> tuple[float, float]:
    """How often the interval of the probability of improvement misses it, and how often its own estimate."""
    stream = np.random.default_rng(seed)
    pairs = draw(setting, simulations, stream)
    # Of all simulations together hardly two runs are of one pair.
    true = np.mean([improvement([(x.reshape(1, -1), y.reshape(1, -1), False)]) for x, y, _ in pairs])
    shares = [weights_apart(kind_of(pair), REPETITIONS, stream, stream) for pair in pairs]
    interval = expanded_percentiles(improvements(pairs, shares), freedom_of([kind_of(pair) for pair in pairs]))
    # Percentiles are interpolated, and differ from equal numbers in the last digit.
    return outside(interval - true), outside((interval - improvement(pairs)).round(12))


def outside(interval: np.ndarray) -> float:
    """How often 0 is outside of intervals (2, simulations)."""
    return float(((interval[0] > 0) | (interval[1] < 0)).mean())


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="Print the calibration table.")
    parser.add_argument("--simulations", type=int, default=2000)
    simulations = parser.parse_args().simulations
    print("| no difference | test | interval, other seeds | interval, other tasks |\n| --- | --- | --- | --- |")
    for setting in SETTINGS:
        seeds, tasks = interval_errors(setting, simulations)
        elsewhere = f"{100 * tasks:.1f}" if setting.tasks >= FEWEST_TASKS else "–"
        print(f"| {setting.name} | {100 * errors(setting, simulations):.1f} | {100 * seeds:.1f} | {elsewhere} |")
    print("\n| 5 points between them | interval of the chance |\n| --- | --- |")
    for setting in CHANCES:
        print(f"| {setting.name} | {100 * chance_errors(setting, simulations)[0]:.1f} |")


if __name__ == "__main__":
    main()
