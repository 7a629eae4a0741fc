"""What measuring a training loop needs, whosever the loop is: this module imports nothing else of the project, so that
it can also be used where the packages `agents` and `envs` are other people's.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable
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


def repeat_for(seconds: float, advance: Callable[[], int], wait: Callable[[], Any]) -> Spread:
    """Rates of `advance`, which dispatches work and returns its updates; `wait` returns when the device is done.

    A repeat is as many calls as fill a second (a third of `seconds` if that is less), found by trying, then one wait.
    Repeats end when the next would exceed `seconds`; there is at least one, of at least one call.
    """
    shortest = min(1.0, seconds / 3)
    rates: list[float] = []
    calls, begun = 1, time.perf_counter()
    while True:
        started = time.perf_counter()
        updates = sum(advance() for _ in range(calls))
        wait()
        elapsed = time.perf_counter() - started
        if elapsed < shortest and not rates:
            calls = math.ceil(calls * min(10.0, 1.2 * shortest / elapsed))
            continue
        rates.append(updates / elapsed)
        if time.perf_counter() - begun + elapsed > seconds:
            return Spread(min(rates), statistics.median(rates), max(rates), len(rates))


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
