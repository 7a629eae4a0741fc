"""RQL whose depths of reversal are drawn otherwise: continuous, on the grid of the flow's steps, or any mixture.

RQL (arXiv 2606.17551) reverses half of a batch to a continuous depth and half to one of {0, 1/F, ..., 1}, the points
which its own flow passes. `continuous=0.5` is that; 1 and 0 tell what each half is worth.
"""

from __future__ import annotations

from dataclasses import dataclass

import jax.numpy as jnp

from agents.base import integers, option, uniform
from agents.rql import RQL, RQLConfig


@dataclass(frozen=True)
class ReversalDepthsConfig(RQLConfig):
    """RQL's hyperparameters and one more."""

    continuous: float = option(0.5, "share of the batch whose depth is not on the grid", low=0, high=1)


class ReversalDepths(RQL):
    """RQL with other depths."""

    name = "reversal_depths"
    Config = ReversalDepthsConfig

    def draws(self, batch_size):
        depths = {"depth": uniform(batch_size), "grid_depth": integers(0, self.config.flow_steps + 1, batch_size)}
        return super().draws(batch_size) | depths

    def depths(self, noise):
        """How far to reverse, (B, 1)."""
        rows = jnp.arange(noise["depth"].size)
        grid = noise["grid_depth"] / self.config.flow_steps
        return jnp.where(rows < self.config.continuous * rows.size, noise["depth"], grid)[:, None]
