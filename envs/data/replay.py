"""Replay of an online phase: the dataset, and behind it what a policy has added, all on the device.

The dataset is shared by all seeds; each seed has a `Replay` of its own. Agents without a sampler of their own draw
uniformly over flat indices of both together, as from one dataset that holds all of them (QAM, arXiv 2601.14234).
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax import Array

from agents.transitions import Transitions
from envs.data.dataset import Dataset


@struct.dataclass
class Transition:
    """One step in an environment."""

    observations: Array
    """s, (O,)."""
    actions: Array
    """a, (d,)."""
    rewards: Array
    """r, ()."""
    masks: Array
    """(), bool: False where s solves the task."""
    next_observations: Array
    """s', (O,)."""


@struct.dataclass
class Replay:
    """Room for M transitions, of which `size` are there. Episodes are trajectories; the last may be unfinished."""

    transitions: Transition
    """Of arrays with leading axis M."""
    episode: Array
    """(M,) int32: the episode of each transition."""
    last: Array
    """(M,) int32: the last transition so far of each episode."""
    size: Array
    """() int32."""
    episodes: Array
    """() int32: episodes begun."""


def empty(capacity: int, observation_dim: int, action_dim: int) -> Replay:
    """A replay without transitions."""
    rows = Transition(
        observations=jnp.zeros((capacity, observation_dim)),
        actions=jnp.zeros((capacity, action_dim)),
        rewards=jnp.zeros(capacity),
        masks=jnp.zeros(capacity, bool),
        next_observations=jnp.zeros((capacity, observation_dim)),
    )
    zeros, zero = jnp.zeros(capacity, jnp.int32), jnp.zeros((), jnp.int32)
    return Replay(rows, zeros, zeros, zero, zero)


def add(replay: Replay, transition: Transition, first: Array) -> Replay:
    """Append a transition; `first` says that it begins an episode."""
    place = replay.size
    episodes = replay.episodes + first
    return Replay(
        transitions=jax.tree.map(lambda rows, row: rows.at[place].set(row), replay.transitions, transition),
        episode=replay.episode.at[place].set(episodes - 1),
        last=replay.last.at[episodes - 1].set(place),
        size=place + 1,
        episodes=episodes,
    )


@struct.dataclass
class Joined(Transitions):
    """The dataset and, behind it, a seed's replay: the transitions of both in a row."""

    data: Dataset
    replay: Replay

    @property
    def size(self) -> Array:
        """See `Transitions`, as of those below."""
        return self.data.size + self.replay.size

    def trajectory_of(self, index):
        count = self.data.last.shape[0]
        return self.pick(index, lambda old: self.data.trajectory[old], lambda new: count + self.replay.episode[new])

    def last_of(self, trajectory):
        count = self.data.last.shape[0]
        old, new = jnp.minimum(trajectory, count - 1), jnp.maximum(trajectory - count, 0)
        return jnp.where(trajectory < count, self.data.last[old], self.data.size + self.replay.last[new])

    def at(self, name, index, trajectory=None):
        known = None if trajectory is None else jnp.minimum(trajectory, self.data.last.shape[0] - 1)
        rows = getattr(self.replay.transitions, name)
        return self.pick(index, lambda old: self.data.at(name, old, known), lambda new: rows[new])

    def pick(self, index, of_data, of_replay):
        """Elements at indices that run through the dataset and then the replay, from a function of each one's own."""
        mine = index < self.data.size
        ours, theirs = of_data(jnp.where(mine, index, 0)), of_replay(jnp.where(mine, 0, index - self.data.size))
        return jnp.where(mine.reshape(*mine.shape, *[1] * (ours.ndim - mine.ndim)), ours, theirs)


def to_arrays(replays: Replay, begin: int, end: int) -> dict[str, np.ndarray]:
    """Transitions begin to end - 1 of stacked replays, for a file: arrays (S, end - begin, ...)."""
    rows = jax.tree.map(lambda leaf: np.asarray(leaf[:, begin:end]), replays.transitions)
    arrays = {name: getattr(rows, name) for name in Transition.__dataclass_fields__}
    return {**arrays, "episode": np.asarray(replays.episode[:, begin:end])}


def from_arrays(replays: Replay, arrays: dict[str, np.ndarray]) -> Replay:
    """Stacked replays (empty) filled with the transitions that `to_arrays` gave, all of them from the first on."""
    size = arrays["episode"].shape[1]
    rows = Transition(**{name: jnp.asarray(arrays[name]) for name in Transition.__dataclass_fields__})
    last = np.zeros(replays.last.shape, np.int32)
    for seed, episodes in enumerate(arrays["episode"]):
        last[seed, episodes] = np.arange(size)  # of several transitions of an episode the last one stays
    return Replay(
        transitions=jax.tree.map(lambda room, row: room.at[:, :size].set(row), replays.transitions, rows),
        episode=replays.episode.at[:, :size].set(arrays["episode"]),
        last=jnp.asarray(last),
        size=jnp.full_like(replays.size, size),
        episodes=jnp.asarray(arrays["episode"].max(axis=1) + 1, jnp.int32),
    )
