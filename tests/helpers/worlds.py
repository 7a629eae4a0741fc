"""Small datasets and worlds without an environment, for tests of the loop."""

from __future__ import annotations

import numpy as np

from envs.data.dataset import Dataset, from_transitions
from envs.play.pool import EpisodeResults

O, D = 4, 2


def transitions(lengths=(9, 1, 14, 3, 7), seed=0) -> dict[str, np.ndarray]:
    """Random transitions of trajectories of these lengths, in the form of OGBench's loader."""
    rng = np.random.default_rng(seed)
    size = sum(lengths)
    last = np.cumsum(lengths) - 1
    rows = [rng.normal(size=(length + 1, O)).astype(np.float32) for length in lengths]
    terminals = np.zeros(size, np.float32)
    terminals[last] = 1
    return dict(
        observations=np.concatenate([row[:-1] for row in rows]),
        actions=rng.uniform(-1, 1, (size, D)).astype(np.float32),
        rewards=-rng.integers(0, 3, size).astype(np.float32),
        masks=(rng.uniform(size=size) > 0.3).astype(np.float32),
        terminals=terminals,
        next_observations=np.concatenate([row[1:] for row in rows]),
    )


class FakeWorld:
    """A world whose evaluation scores the policy's actions on fixed observations."""

    def __init__(self, lengths=(9, 1, 14, 3, 7)):
        self.data: Dataset = from_transitions(**transitions(lengths))
        self.source = {"name": "fake"}
        self.evaluated: list[int] = []

    def data_for(self, update):
        return self.data

    def next_change(self, update):
        return None

    def evaluate(self, policy, seeds, episodes, step, active, on_progress=None):
        self.evaluated.append(step)
        observations = np.random.default_rng(step).normal(size=(1, episodes, O)).repeat(len(seeds), 0)
        episode = np.arange(episodes)
        ids = np.stack([np.stack([np.full(episodes, s), episode * 0 + step, episode], -1) for s in seeds])
        actions = np.asarray(policy(observations.astype(np.float32), ids.astype(np.uint32)))
        score = np.abs(actions).mean((2, 3))
        return [EpisodeResults(s, s, np.ones(episodes, int)) if on else None for s, on in zip(score, active)]  # noqa: B905

    def close(self):
        pass
