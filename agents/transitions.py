"""What a sampler sees of the data: transitions in a row, the same offline and online, and the pieces of a batch.

Transition i of N is one step (s_i, a_i, r_i, m_i, s'_i); those of a trajectory follow one another, and its last one is
followed by the first of another. Offline N is a number, online an array: the dataset and, behind it, what was added.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from agents.base import Batch


class Window(NamedTuple):
    """Steps in a row, time-major within a sample. Beyond the trajectory's end its last transition is repeated."""

    observations: Array
    """(B, n, O)."""
    actions: Array
    """(B, n, d)."""
    rewards: Array
    """(B, n)."""
    masks: Array
    """(B, n): 0 where the observation solves the task, else 1."""
    next_observations: Array
    """(B, n, O)."""
    inside: Array
    """(B, n): 1 where the step is of the trajectory, 0 beyond its end."""


class Transitions:
    """N transitions. Who stores them defines `size`, `trajectory_of`, `last_of` and `at`."""

    @property
    def size(self) -> int | Array:
        """N."""
        raise NotImplementedError

    def trajectory_of(self, index: Array) -> Array:
        """The number of each transition's trajectory, of the index's shape."""
        raise NotImplementedError

    def last_of(self, trajectory: Array) -> Array:
        """The last transition of each trajectory."""
        raise NotImplementedError

    def at(self, name: str, index: Array, trajectory: Array | None = None) -> Array:
        """One of the arrays "observations", "actions", "rewards", "masks" and "next_observations" at transitions.

        (..., O), (..., d) or (...). `trajectory`, theirs, saves looking it up where it is known.
        """
        raise NotImplementedError

    def draw(self, sampler: str, rng: Array, batch_size: int, chunk_length: int, discount, steps: int) -> Batch:
        """A batch as an agent that only names a sampler has it: offline by that one, online by "sequences"."""
        return self.batch(self.starts(rng, batch_size, max(chunk_length, steps)), chunk_length, discount, steps)

    # ---- the pieces of a batch

    def starts(self, rng: Array, batch_size: int, length: int) -> Array:
        """Transitions (B,), uniform over all that `length` transitions, of whatever trajectory, begin with.

        Raises a ValueError where there are not so many.
        """
        if isinstance(self.size, int) and length > self.size:  # XLA draws from an empty range without a word
            raise ValueError(f"chunk_length {length} is longer than the whole dataset of {self.size} transitions")
        return jax.random.randint(rng, (batch_size,), 0, self.size - length + 1)

    def to_end(self, index: Array) -> Array:
        """How many transitions of its trajectory follow each: 0 at its last. min(k, to_end) never leaves it."""
        return self.last_of(self.trajectory_of(index)) - index

    def window(self, start: Array, length: int, skip: int = 0) -> Window:
        """The n = `length` steps from `skip` steps after each start, (B,), within the start's trajectory."""
        trajectory = self.trajectory_of(start)[:, None]
        index = start[:, None] + skip + jnp.arange(length)
        last = self.last_of(trajectory)
        rows = {
            name: self.at(name, jnp.minimum(index, last), trajectory)
            for name in ("observations", "actions", "rewards", "masks", "next_observations")
        }
        rows["masks"] = rows["masks"].astype(jnp.float32)
        return Window(**rows, inside=(index <= last).astype(jnp.float32))

    def batch(self, start: Array, chunk_length: int, discount, steps: int | None = None) -> Batch:
        """The chunks that begin at `start`, (B,), with returns of n = `steps` steps (default: the chunk's H).

        A window may run past the end of its trajectory: then `valid` is 0, and rewards, masks and the bootstrap row
        stop at the end; the actions are the raw window. The bootstrap mask is the minimum over the n steps: any success
        among them stops the bootstrap.
        """
        steps = chunk_length if steps is None else steps
        trajectory = self.trajectory_of(start)
        to_end = self.last_of(trajectory) - start

        def steps_ahead(count):
            offsets = jnp.arange(count)
            return offsets, start[:, None] + offsets, offsets <= to_end[:, None]

        offsets, rows, inside = steps_ahead(chunk_length)
        paid, paid_rows, within = (offsets, rows, inside) if steps == chunk_length else steps_ahead(steps)
        actions, end = self.at("actions", rows), start + jnp.minimum(steps - 1, to_end)
        return Batch(
            observations=self.at("observations", start, trajectory),
            actions=actions.reshape(start.shape[0], -1),
            rewards=(discount**paid * self.at("rewards", paid_rows) * within).sum(1),
            masks=jnp.where(within, self.at("masks", paid_rows), True).all(1).astype(jnp.float32),
            next_observations=self.at("next_observations", end, trajectory),
            valid=(to_end >= max(chunk_length, steps) - 1).astype(jnp.float32),
            action_weights=jnp.repeat(inside, actions.shape[-1], axis=1).astype(jnp.float32),
        )
