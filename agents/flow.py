"""Flows: what every flow policy shares.

Time convention: t = 0 is noise, t = 1 is data, x_t = (1 - t) x_0 + t x_1, velocity target x_1 - x_0. A vector field
is a function (x, t) -> velocity with x (B, A) and t (B, 1); the observation is bound by the caller.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
from jax import Array

if TYPE_CHECKING:
    from agents.base import Batch

Field = Callable[[Array, Array], Array]
Network = Callable[[Array, Array, Array], Array]
"""(observations (B, O), x (B, A), t (B, 1)) -> velocity (B, A): a network bound to parameters, such as `train.flow`."""


def integrate(field: Callable, x: Any, steps: int, start: int = 0, project: Callable = lambda x: x) -> Any:
    """Integrate dx/dt = u(x, t) from t = 0 to 1 with `steps` Euler steps, after each of which x is projected.

    x is an array (..., n), or a pytree of such, and velocities are of its form, evaluated at the left end points
    t = i / steps. Differentiable. With `start` > 0, x is where the first `start` of the steps ended.
    """
    like = jax.tree.leaves(x)[0]

    def step(x, i):
        t = jnp.full((*like.shape[:-1], 1), i / steps, like.dtype)
        return project(jax.tree.map(lambda x, velocity: x + velocity / steps, x, field(x, t))), None

    return jax.lax.scan(step, x, jnp.arange(start, steps, dtype=like.dtype))[0]


def until(field: Field, end: Array) -> Field:
    """A field whose integral from 0 to 1 is the given one's from 0 to each sample's own `end`, (B, 1) in [0, 1]."""
    return lambda x, t: end * field(x, end * t)


def with_derivative(field: Field) -> Callable:
    """The field of (x, J), of samples of one number: x is carried by `field`, J by its derivative along x, so that J,
    from 1 on, becomes the derivative of where x ends by where it began.
    """
    return lambda pair, t: jax.jvp(lambda x: field(x, t), pair[:1], pair[1:])


def euler(field: Field, x: Array, steps: int, start: int = 0) -> Array:
    """Φ_u: integrate dx/dt = u(x, t) from noise x (B, A) with `steps` Euler steps; clip the end to [-1, 1]."""
    return jnp.clip(integrate(field, x, steps, start), -1, 1)


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
