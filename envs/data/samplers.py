"""The two ways of drawing batches from a dataset on the device."""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
from jax import Array

from agents.base import Batch
from agents.transitions import Transitions
from benchmark.common.errors import UserError

if TYPE_CHECKING:
    from envs.data.dataset import Dataset


def sample_sequences(
    data: Transitions, rng: Array, batch_size: int, chunk_length: int, discount, steps: int | None = None
) -> Batch:
    """Draw windows of H transitions uniformly over flat indices (QAM and its baselines); see `Transitions.batch`.

    Raises a UserError where a window is longer than the dataset.
    """
    try:
        start = data.starts(rng, batch_size, max(chunk_length, steps or 0))
    except ValueError as error:
        raise UserError(str(error)) from error
    return data.batch(start, chunk_length, discount, steps)


def sample_trajectories(
    data: Dataset, rng: Array, batch_size: int, chunk_length: int, discount, steps: int | None = None
) -> Batch:
    """Draw trajectories first (without replacement where there are more than the batch needs), then a start in each,
    never its last transition; H + 1 rows from there, those beyond the end repeating the last (RQL).

    Raises a UserError where every trajectory has one transition, or a return is not of the chunk's H steps.
    """
    if steps not in (None, chunk_length):
        raise UserError(f"the sampler 'trajectories' has returns of the chunk's {chunk_length} steps only, not {steps}")
    if not data.candidates.shape[0]:
        raise UserError("no trajectory of the dataset has more than one transition, and two are needed to draw from it")
    trajectory_rng, start_rng = jax.random.split(rng)
    replace = batch_size >= data.first.shape[0] or batch_size > data.candidates.shape[0]
    trajectory = jax.random.choice(trajectory_rng, data.candidates, (batch_size,), replace=replace)
    last = data.last[trajectory]
    start = jax.random.randint(start_rng, (batch_size,), data.first[trajectory], last)
    rows = jnp.minimum(start + jnp.arange(chunk_length + 1)[:, None], last)
    return trajectory_batch(
        observations=data.observations[(rows + trajectory)[jnp.array([0, -1])]],
        actions=data.actions[rows],
        rewards=data.rewards[rows],
        masks=data.masks[rows].astype(jnp.float32),
        terminals=(rows == last).astype(jnp.float32),
        discount=discount,
    )


def trajectory_batch(observations, actions, rewards, masks, terminals, discount) -> Batch:
    """Reduce rows 0..H (leading axis; H + 1 of them, of observations the first and last suffice) to a batch.

    Rewards and actions count up to the trajectory's last row, the mask is that of row H - 1 alone, the bootstrap
    observation is row H, and a chunk is valid if at most one row lies beyond the end.
    """
    rows, batch_size, action_dim = actions.shape
    chunk_length = rows - 1
    beyond = jnp.concatenate([jnp.zeros_like(terminals[:1]), terminals[:-1]])
    inside = 1 - beyond[:chunk_length]
    weights = discount ** jnp.arange(chunk_length)
    return Batch(
        observations=observations[0],
        actions=actions[:chunk_length].swapaxes(0, 1).reshape(batch_size, -1),
        rewards=(weights[:, None] * rewards[:chunk_length] * inside).sum(0),
        masks=masks[chunk_length - 1],
        next_observations=observations[-1],
        valid=(beyond.sum(0) <= 1).astype(rewards.dtype),
        action_weights=jnp.repeat(inside.T, action_dim, axis=1),
    )


SAMPLERS = {"sequences": sample_sequences, "trajectories": sample_trajectories}
