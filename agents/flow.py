"""Flows: what every flow policy shares.

Time convention: t = 0 is noise, t = 1 is data, x_t = (1 - t) x_0 + t x_1, velocity target x_1 - x_0. A vector field
is a function (x, t) -> velocity with x (B, A) and t (B, 1); the observation is bound by the caller.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
from jax import Array

if TYPE_CHECKING:
    from agents.base import Batch

Field = Callable[[Array, Array], Array]
Network = Callable[[Array, Array, Array], Array]
"""(observations (B, O), x (B, A), t (B, 1)) -> velocity (B, A): a network bound to parameters, such as `train.flow`."""


def euler(field: Field, x: Array, steps: int, start: int = 0) -> Array:
    """Φ_u: integrate dx/dt = u(x, t) from noise x (B, A) with `steps` Euler steps; clip the end to [-1, 1].

    Velocities are evaluated at the left end points t = i / steps. Differentiable, also through the clip.
    With `start` > 0, x is where the first `start` of the steps ended.
    """

    def step(x, i):
        t = jnp.full((*x.shape[:-1], 1), i / steps, x.dtype)
        return x + field(x, t) / steps, None

    x, _ = jax.lax.scan(step, x, jnp.arange(start, steps, dtype=x.dtype))
    return jnp.clip(x, -1, 1)


def interpolate(noise: Array, data: Array, t: Array) -> Array:
    """x_t = (1 - t) x_0 + t x_1, with x_0, x_1 (B, A) and t (B, 1)."""
    return (1 - t) * noise + t * data


def matching_error(velocity: Array, noise: Array, data: Array) -> Array:
    """Squared error (B, A) of a predicted velocity against the flow-matching target x_1 - x_0."""
    return (velocity - (data - noise)) ** 2


def matching_loss(field: Field, noise: Array, data: Array, t: Array, weight: Array) -> Array:
    """L_FM: mean over dimensions, times the weight (B,) of each sample, mean over the batch (divisor B)."""
    error = matching_error(field(interpolate(noise, data, t), t), noise, data)
    return (weight * error.mean(axis=-1)).mean()


def cloning_loss(network: Network, batch: Batch, noise: dict[str, Array], weight: Array | None = None) -> Array:
    """L_FM of behaviour cloning: a flow u(s, x, t) matched to the batch's chunks from noise x_0 at times t.

    Chunks count where they are valid, or with `weight` (B,).
    """
    s = batch.observations
    weight = batch.valid if weight is None else weight
    return matching_loss(lambda x, t: network(s, x, t), noise["x0"], batch.actions, noise["t"], weight)


def actions(network: Network, observations: Array, latent: Array, steps: int) -> Array:
    """Φ_u(s, z): what a flow u(s, x, t) makes of noise z (B, A) in `steps` Euler steps, clipped to [-1, 1]."""
    return euler(lambda x, t: network(observations, x, t), latent, steps)
