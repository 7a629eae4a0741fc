"""Replay of an online phase: the dataset, and behind it what a policy has added, all on the device.

The dataset is shared by all seeds; each seed has a `Replay` of its own. Sampling is uniform over flat indices of both
together, exactly `envs.data.samplers.sample_sequences` on one dataset that holds all of them (QAM, arXiv 2601.14234).
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax import Array

from agents.base import Batch
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


def sample(data: Dataset, replay: Replay, rng: Array, batch_size: int, chunk_length: int, discount) -> Batch:
    """Draw windows of H transitions uniformly over the dataset and the replay; see `sample_sequences`."""
    old, rows = data.size, replay.transitions
    start = jax.random.randint(rng, (batch_size,), 0, old + replay.size - chunk_length + 1)
    offsets = jnp.arange(chunk_length)
    window = start[:, None] + offsets

    def pick(of_data: Array, of_replay: Array, index: Array) -> Array:
        """The arrays' elements at indices that run through the dataset and then the replay."""
        mine = index < old
        ours = of_data[jnp.where(mine, index, 0)]
        theirs = of_replay[jnp.where(mine, 0, index - old)]
        return jnp.where(mine.reshape(*mine.shape, *[1] * (ours.ndim - mine.ndim)), ours, theirs)

    trajectory = data.trajectory[jnp.minimum(start, old - 1)]
    episode = replay.episode[jnp.maximum(start - old, 0)]
    to_end = jnp.where(start < old, data.last[trajectory], old + replay.last[episode]) - start
    inside = offsets <= to_end[:, None]
    end = start + jnp.minimum(chunk_length - 1, to_end)
    of_data = data.observations[jnp.minimum(end, old - 1) + 1 + trajectory]
    bootstrap = jnp.where((start < old)[:, None], of_data, rows.next_observations[jnp.maximum(end - old, 0)])
    rewards, masks = pick(data.rewards, rows.rewards, window), pick(data.masks, rows.masks, window)
    now = data.observations[jnp.minimum(start, old - 1) + trajectory]
    return Batch(
        observations=jnp.where((start < old)[:, None], now, rows.observations[jnp.maximum(start - old, 0)]),
        actions=pick(data.actions, rows.actions, window).reshape(batch_size, -1),
        rewards=(discount**offsets * rewards * inside).sum(1),
        masks=jnp.where(inside, masks, True).all(1).astype(jnp.float32),
        next_observations=bootstrap,
        valid=(to_end >= chunk_length - 1).astype(jnp.float32),
        action_weights=jnp.repeat(inside, data.action_dim, axis=1).astype(jnp.float32),
    )


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
