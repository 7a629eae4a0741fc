"""Tanh-squashed Gaussian policies, their learned temperature, and bounded edits of another policy's actions.

A policy draws y = tanh(u) with u = μ + σ ξ, ξ ~ N(0, I); its density is evaluated from the stored u, so that no arctanh
is taken and saturated samples keep an exact density. The temperature α = exp(λ) holds the mean entropy near a target.
An edit adds c y, with y drawn given the observation and the action f to be edited: clip(f + c y, -1, 1).
"""

from __future__ import annotations

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from agents.networks import MLP, ensemble_mean, glorot

LOG_STD_BOUNDS = (-20.0, 2.0)


class TanhNormal(nn.Module):
    """Mean μ and log-std log σ (both (B, A)) of a Gaussian that a caller squashes: a trunk and two linear heads."""

    hidden: Sequence[int]
    action_dim: int

    @nn.compact
    def __call__(self, *inputs: Array) -> tuple[Array, Array]:
        """Map inputs (B, n_i) to (μ, log σ), the latter clipped to `LOG_STD_BOUNDS`."""
        x = MLP(self.hidden, activate_final=True, name="trunk")(*inputs)
        mean = nn.Dense(self.action_dim, kernel_init=glorot(), name="mean")(x)
        log_std = nn.Dense(self.action_dim, kernel_init=glorot(), name="log_std")(x)
        return mean, jnp.clip(log_std, *LOG_STD_BOUNDS)


class Temperature(nn.Module):
    """A positive scalar α = exp(λ), without inputs; λ starts at 0."""

    @nn.compact
    def __call__(self) -> Array:
        """Return α."""
        return jnp.exp(self.param("log_temperature", nn.initializers.zeros, ()))


def squashed_sample(mean: Array, log_std: Array, noise: Array) -> tuple[Array, Array]:
    """y = tanh(μ + σ ξ), (B, A), and log p(y), (B,). Both are differentiable in μ and log σ."""
    u = mean + jnp.exp(log_std) * noise
    gaussian = -0.5 * ((u - mean) / jnp.exp(log_std)) ** 2 - log_std - 0.5 * jnp.log(2 * jnp.pi)
    squashing = 2 * (jnp.log(2) - u - jax.nn.softplus(-2 * u))
    return jnp.tanh(u), (gaussian - squashing).sum(axis=-1)


def entropy_loss(temperature: Array, log_density: Array) -> Array:
    """mean α log p(y), which the policy minimises: α is a constant here, so pass `fixed.temperature()`."""
    return (temperature * log_density).mean()


def temperature_loss(temperature: Array, log_density: Array, target_entropy: Array | float) -> Array:
    """L_α = α (-mean sg[log p(y)] - 𝓗), which lowers α while the entropy exceeds 𝓗: pass `train.temperature()`."""
    return temperature * (-jax.lax.stop_gradient(log_density).mean() - target_entropy)


def edited_action(policy, observations: Array, base: Array, noise: Array, scale) -> tuple[Array, Array]:
    """clip(f + c y, -1, 1), (B, A), and the log-density (B,) of y, with f the base actions and y ~ policy(s, f)."""
    mean, log_std = policy(observations, base)
    y, log_density = squashed_sample(mean, log_std, noise)
    return jnp.clip(base + scale * y, -1, 1), log_density


def edit_losses(train, fixed, observations: Array, base: Array, noise: Array, scale, target_entropy) -> dict:
    """The terms that train the networks `edit` and `temperature`, given base actions f (B, A) as constants.

    -mean Q(s, clip(f + c y)), mean α log p(y) and L_α; the density is that of the unscaled y.
    """
    action, log_density = edited_action(train.edit, observations, base, noise, scale)
    return dict(
        q_loss=-ensemble_mean(fixed.critic(observations, action)).mean(),
        entropy_loss=entropy_loss(fixed.temperature(), log_density),
        temperature_loss=temperature_loss(train.temperature(), log_density, target_entropy),
    )
