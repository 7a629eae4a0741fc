"""RQL with two of its choices made otherwise: the depths of reversal, and the number of flow steps that acting takes.

RQL (arXiv 2606.17551) reverses half of a batch to a continuous depth and half to one of {0, 1/F, ..., 1}, the points
which its own flow passes: `continuous=0.5` is that; 1 and 0 tell what each half is worth. It acts with the F Euler
steps that it was trained with; `acting_steps`, which no loss reads, gives a trained policy another number of them
(`python -m benchmark.evaluate --run RUN --sweep acting_steps=3,5,10,20`).
"""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from agents import flow
from agents.base import integers, option, uniform
from agents.rql import RQL, RQLConfig


@dataclass(frozen=True)
class RQLAblationsConfig(RQLConfig):
    """RQL's hyperparameters and two more."""

    continuous: float = option(0.5, "share of the batch whose depth is not on the grid", low=0, high=1)
    acting_steps: int = option(0, "Euler steps of the flow that acts; 0: as many as in training", low=0, high=1000)


class RQLAblations(RQL):
    """RQL with other depths, acting with other steps."""

    name = "rql_ablations"
    Config = RQLAblationsConfig
    acting_options = ("acting_steps",)

    def draws(self, batch_size):
        depths = {"depth": uniform(batch_size), "grid_depth": integers(0, self.config.flow_steps + 1, batch_size)}
        return super().draws(batch_size) | depths

    def depths(self, noise):
        """How far to reverse, (B, 1)."""
        rows = jnp.arange(noise["depth"].size)
        grid = noise["grid_depth"] / self.config.flow_steps
        return jnp.where(rows < self.config.continuous * rows.size, noise["depth"], grid)[:, None]

    def sample_actions(self, online, target, observations, rng):
        z = jax.random.normal(rng, (observations.shape[0], self.chunk_dim))
        return flow.actions(target.actor, observations, z, self.config.acting_steps or self.config.flow_steps)
