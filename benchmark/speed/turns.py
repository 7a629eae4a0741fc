"""What measuring a training loop needs, whosever the loop is: this module imports nothing else of the project, so that
it can also be used where the packages `agents` and `envs` are other people's.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

TRAJECTORIES = 1000  # as in the published files of a million transitions, so that samplers take the same path


@dataclass(frozen=True)
class Spread:
    """Updates per second over repeats."""

    minimum: float
    median: float
    maximum: float
    repeats: int


class Loop:
    """A way of training, to be timed a piece at a time."""

    def __init__(self, advance: Callable[[], int], wait: Callable[[], Any]):
        """`advance` dispatches work and returns how many updates it is; `wait` returns when the device is done."""
        self.advance = advance
        self.wait = wait
        self.calls = 1

    def repeat(self, seconds: float) -> float:
        """Updates per second over at least `seconds`: as many calls of `advance` as that takes, then one wait.

        How many it takes is found by trying, and kept for the next repeat.
        """
        while True:
            started = time.perf_counter()
            updates = sum(self.advance() for _ in range(self.calls))
            self.wait()
            elapsed = time.perf_counter() - started
            if elapsed >= 0.8 * seconds:
                return updates / elapsed
            self.calls = math.ceil(self.calls * min(10.0, 1.2 * seconds / elapsed))


def take_turns(repeats: Sequence[Callable[[float], float]], seconds: float) -> list[Spread]:
    """Rates of several loops, a repeat of a second (a third of `seconds` if that is less) at a time in turn.

    Loops that are compared meet the same minutes of a machine whose speed drifts. `repeats` are `Loop.repeat` or the
    like. Turns end when the next would exceed `seconds` for each loop; there is at least one.
    """
    shortest = min(1.0, seconds / 3)
    rates: list[list[float]] = [[] for _ in repeats]
    begun = time.perf_counter()
    while True:
        started = time.perf_counter()
        for found, repeat in zip(rates, repeats, strict=True):
            found.append(repeat(shortest))
        ended = time.perf_counter()
        if ended - begun + (ended - started) > seconds * len(repeats):
            return [Spread(min(found), statistics.median(found), max(found), len(found)) for found in rates]


def random_transitions(observation_dim: int, action_dim: int, transitions: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Random transitions of equally long trajectories, as many trajectories as the published data have."""
    rng = np.random.default_rng(seed)
    length = max(2, transitions // TRAJECTORIES)
    size = length * max(1, transitions // length)
    observations = rng.standard_normal((size, observation_dim), np.float32)
    return dict(
        observations=observations,
        actions=rng.uniform(-1, 1, (size, action_dim)).astype(np.float32),
        rewards=-np.ones(size, np.float32),
        masks=np.ones(size, np.float32),
        terminals=(np.arange(size) % length == length - 1).astype(np.float32),
        next_observations=np.roll(observations, -1, axis=0),
    )
