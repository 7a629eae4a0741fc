"""A toy task opened for training, offline and online."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Sequence
from typing import Any

import numpy as np

from envs.data.dataset import Dataset, from_transitions
from envs.play.live import Steps, identities
from envs.play.pool import EpisodeResults, Policy, checked
from envs.tasks import Task
from envs.toy.tasks import TOYS


class ToyWorld:
    """A toy task opened for training; see `envs.world.World`. All episodes of all seeds are stepped together."""

    def __init__(self, task: Task, seed: int = 0):
        """Make the data from the seed."""
        self.toy, self.name = TOYS[task.domain.name](), task.name
        self.limit = task.domain.episode_limit
        made = self.toy.rows(np.random.default_rng(seed))
        self.data = from_transitions(**made)
        digest = hashlib.sha256(b"".join(made[name].tobytes() for name in sorted(made))).hexdigest()
        self.source: dict[str, Any] = {
            "name": task.dataset,
            "fingerprint": f"sha256:{digest}",
            "transitions": self.data.size,
        }

    def evaluate(
        self,
        policy: Policy,
        seeds: Sequence[int],
        episodes: int,
        step: int,
        active: Sequence[bool],
        on_progress: Callable[[int, int], None] | None = None,
        only: Collection[int] | None = None,
    ) -> list[EpisodeResults | None]:
        """Play `episodes` episodes for each seed; see `EvaluationPool.evaluate`. Episode i of a seed starts the same
        way whatever is played beside it. All of an active seed are played together, those that are not asked for too.
        """
        shape = (len(seeds), episodes)
        ids = np.stack([*np.broadcast_arrays(np.array(seeds)[:, None], step, np.arange(episodes), 0)], axis=-1)
        ids = ids.astype(np.uint32)
        states = self.toy.start([np.random.default_rng(identity) for identity in ids.reshape(-1, 4)[:, :3]])
        success, returns, lengths = np.zeros(states.shape[0]), np.zeros(states.shape[0]), np.zeros(states.shape[0], int)
        playing = np.repeat(np.array(active, bool), episodes)
        while playing.any():
            observations = states.reshape(*shape, -1).astype(np.float32)
            chunk = checked(self.name, policy(observations, ids), ids, playing.reshape(shape))
            for actions in chunk.reshape(states.shape[0], *chunk.shape[2:]).swapaxes(0, 1):
                next_states, rewards, solved = self.toy.step(states, actions)
                states = np.where(playing[:, None], next_states, states)
                success = np.where(playing, solved, success)
                returns += np.where(playing, rewards, 0.0)
                lengths += playing
                playing &= (solved < 1) & (lengths < self.limit)
            ids[..., 3] += 1
            if on_progress:
                on_progress(int((~playing).sum()), len(playing))
        columns = (array.reshape(shape) for array in (success, returns, lengths))
        results = [EpisodeResults(*row) for row in zip(*columns, strict=True)]
        return [result if on else None for result, on in zip(results, active, strict=True)]

    def data_for(self, update: int) -> Dataset:
        """One dataset for all updates; see `World.data_for`."""
        return self.data

    def next_change(self, update: int) -> None:
        """Never."""

    def close(self) -> None:
        """Nothing runs."""


class ToyLive:
    """A toy's environments to learn in: arrays of states; see `envs.play.live.Live`."""

    def __init__(self, task: Task, seeds: Sequence[int]):
        """One for each seed."""
        self.toy, self.seeds, self.limit = TOYS[task.domain.name](), list(seeds), task.domain.episode_limit
        self.lengths = np.zeros(len(self.seeds), int)
        self.states: Any = None

    def reset(self, which, step):
        """See `Live.reset`."""
        begun = self.toy.start([np.random.default_rng(identity) for identity in identities(self.seeds, step)])
        self.states = begun if self.states is None else np.where(which[:, None], begun, self.states)
        self.lengths = np.where(which, 0, self.lengths)
        return self.states.astype(np.float32)

    def step(self, actions):
        """See `Live.step`."""
        rewards, masks = self.toy.labels(self.states, actions)
        self.states, _, success = self.toy.step(self.states, actions)
        self.lengths += 1
        ended = (masks == 0) | (self.lengths >= self.limit)
        return Steps(self.states.astype(np.float32), rewards, masks > 0, ended, success)

    def close(self):
        """See `Live.close`."""
