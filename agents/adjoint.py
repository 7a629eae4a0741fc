"""The memoryless stochastic process of a flow, and adjoint matching on it: what QAM and BAM share.

With F steps of size h = 1 / F at times t_i = i / F, a flow u is sampled by an SDE whose end is independent of its
start: drift 2 u(x, t) - x / (t + h), noise σ(t) = sqrt(2 (1 - t + h) / (t + h)). Fine-tuning the drift under this
noise tilts the distribution of ends exactly (Domingo-Enrich et al., "Adjoint Matching", arXiv 2409.08861).
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from agents.flow import Field


def schedule(steps: int) -> tuple[Array, Array]:
    """Times t_i and noise scales σ_i, each (F,)."""
    i = np.arange(steps)
    return jnp.asarray(i / steps), jnp.asarray(np.sqrt(2 * (steps - i + 1) / (i + 1)))


def at(field: Field, x: Array, t: Array | float) -> Array:
    """Velocity (B, A) at x (B, A) and one time for all."""
    return field(x, jnp.full_like(x[:, :1], t))


def along(field: Field, states: Array, times: Array) -> Array:
    """Velocities (n, B, A) at states (n, B, A), each with its time (n,), in one batch."""
    return jax.vmap(lambda x, t: at(field, x, t))(states, times)


def rollout(fast: Field, base: Field, x: Array, noise: Array) -> tuple[Array, Array]:
    """Sample the SDE of `fast` from x (B, A) with noise (F, B, A), whose last array is unused: the last step is an
    Euler step of the *base* flow without noise.

    Returns the states X_0 ... X_F (F + 1, B, A) and the velocities of `fast` at X_0 ... X_{F-2} (F - 1, B, A).
    Differentiable.
    """
    t, sigma = schedule(len(noise))
    h = 1 / len(noise)

    def step(x, inputs):
        t, sigma, xi = inputs
        velocity = at(fast, x, t)
        x_next = x + h * (2 * velocity - x / (t + h)) + h**0.5 * sigma * xi
        return x_next, (x, velocity)

    x, (states, velocities) = jax.lax.scan(step, x, (t[:-1], sigma[:-1], noise[:-1]))
    end = x + h * at(base, x, t[-1])
    return jnp.concatenate([states, x[None], end[None]]), velocities


def lean_adjoint(base: Field, states: Array, gradient: Array) -> Array:
    """Carry a gradient (B, A) at X_F back along states X_0 ... X_{F-1} (F, B, A) through the *base* drift alone.

    ã_i = ã_{i+1} + h J^T ã_{i+1} with J of 2 u(x, t_{i+1}) - x / t_{i+1} at X_i: the state is a step behind the time,
    as in the authors' code. Returns ã_0 ... ã_{F-1} (F, B, A).
    """
    steps = len(states)

    def step(adjoint, inputs):
        x, t_next = inputs
        _, pullback = jax.vjp(lambda x: 2 * at(base, x, t_next) - x / t_next, x)
        adjoint = adjoint + pullback(adjoint)[0] / steps
        return adjoint, adjoint

    times = jnp.arange(1, steps + 1, dtype=states.dtype) / steps
    return jax.lax.scan(step, gradient, (states, times), reverse=True)[1]


def matching_loss(fast: Field, base: Field, states: Array, adjoints: Array) -> Array:
    """L_AM = mean over B of sums over steps and dimensions of ((2 / σ_i)(u_f - ū_s)(X_i, t_i) + σ_i ã_i)².

    With states and adjoints (F, B, A). Least at u_f = ū_s - (σ_i² / 2) ã_i.
    """
    return matching_error(difference(fast, base, states), adjoints)


def difference(fast: Field, base: Field, states: Array) -> Array:
    """(u_f - ū_s)(X_i, t_i) at states X_0 ... X_{F-1} (F, B, A)."""
    t, _ = schedule(len(states))
    return along(fast, states, t) - along(base, states, t)


def matching_error(difference: Array, adjoints: Array) -> Array:
    """L_AM from the difference of the flows and the adjoints, both (F, B, A)."""
    _, sigma = schedule(len(difference))
    sigma = sigma[:, None, None]
    return ((2 / sigma * difference + sigma * adjoints) ** 2).sum(axis=(0, 2)).mean()


def path_kl(difference: Array) -> Array:
    """Path KL of two such SDEs from the difference Δ of their flows (F, B, A): mean over B of Σ (2 h / σ_i²) Δ²."""
    _, sigma = schedule(len(difference))
    return (2 / len(difference) / sigma[:, None, None] ** 2 * difference**2).sum(axis=(0, 2)).mean()


def path_penalty(velocities: Array, base: Field, states: Array) -> Array:
    """K (B,): sum over steps and dimensions of (2 / σ_i²)(u_f - ū_s)², of what `rollout` returned.

    Without the factor h that a path KL has, as in the authors' code; the last step does not count.
    """
    t, sigma = schedule(len(states) - 1)
    sigma = sigma[:-1, None, None]
    error = velocities - along(base, states[:-2], t[:-1])
    return (2 / sigma**2 * error**2).sum(axis=(0, 2))
