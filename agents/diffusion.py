"""Diffusion: what every denoising policy shares.

Step convention: k = 0 is data, k = K is almost noise. x_k = √ᾱ_k x_0 + √(1 - ᾱ_k) n, and a network ε(s, x, k) predicts
n. Networks get the step as it is, (B, 1), not divided by K. Schedule: variance preserving, Song et
al., arXiv 2011.13456, discretised as in Xiao et al., arXiv 2112.07804; reverse step: DDPM, Ho et al., arXiv 2006.11239.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from agents.networks import MLP

NOISE_RATES = (0.1, 10.0)
"""Least and greatest rate of the continuous-time process, β_min and β_max."""


class Schedule:
    """Constants of the process at steps k = 0..K, and the formulas made of them. `k` is an integer array (B, 1)."""

    def __init__(self, steps: int):
        """Make the schedule of K steps. `alpha`, `alpha_bar` and the two standard deviations have K + 1 entries."""
        low, high = NOISE_RATES
        k = np.arange(1, steps + 1)
        alpha = np.append(1, np.exp(-low / steps - (high - low) * (2 * k - 1) / (2 * steps**2)))
        alpha_bar = np.cumprod(alpha)
        forward_variance = np.where(np.arange(steps + 1) > 1, 1 - alpha, 0)
        posterior_variance = (1 - alpha[1:]) * (1 - alpha_bar[:-1]) / (1 - alpha_bar[1:])
        self.alpha = jnp.asarray(alpha)
        self.alpha_bar = jnp.asarray(alpha_bar)
        self.forward_std = jnp.asarray(np.sqrt(forward_variance))
        """√(1 - α_k), but 0 at k = 1: the last reverse step adds no noise."""
        self.posterior_std = jnp.asarray(np.sqrt(np.append(0, posterior_variance)))
        """Standard deviation of x_{k-1} given x_k and x_0, which is 0 at k = 1."""

    def add_noise(self, x0: Array, noise: Array, k: Array) -> Array:
        """x_k = √ᾱ_k x_0 + √(1 - ᾱ_k) n."""
        return jnp.sqrt(self.alpha_bar[k]) * x0 + jnp.sqrt(1 - self.alpha_bar[k]) * noise

    def remove_noise(self, x: Array, noise: Array, k: Array) -> Array:
        """x̂_0 = (x_k - √(1 - ᾱ_k) n̂) / √ᾱ_k from the predicted noise n̂."""
        return (x - jnp.sqrt(1 - self.alpha_bar[k]) * noise) / jnp.sqrt(self.alpha_bar[k])

    def reverse_mean(self, x: Array, noise: Array, k: Array) -> Array:
        """μ of x_{k-1} given x_k and the clipped x̂_0: [√ᾱ_{k-1} (1 - α_k) x̂_0 + √α_k (1 - ᾱ_{k-1}) x_k] / (1 - ᾱ_k).

        At k = 1 it is x̂_0, so a chain ends in [-1, 1].
        """
        x0 = jnp.clip(self.remove_noise(x, noise, k), -1, 1)
        alpha, bar, bar_before = self.alpha[k], self.alpha_bar[k], self.alpha_bar[k - 1]
        return (jnp.sqrt(bar_before) * (1 - alpha) * x0 + jnp.sqrt(alpha) * (1 - bar_before) * x) / (1 - bar)


def denoise(step: Callable[[Array, Array, Array], tuple[Array, Any]], x: Array, noise: Array) -> tuple[Array, Any]:
    """Run a reverse chain k = K..1 from x (..., A) with noise ζ_K..ζ_1, (K, ..., A).

    `step` maps (x_k, k, ζ_k), with k an integer array (..., 1), to x_{k-1} and anything to be kept. Returns x_0 and
    what was kept, stacked on a new first axis. Differentiable.
    """

    def body(x, inputs):
        k, z = inputs
        return step(x, jnp.full((*x.shape[:-1], 1), k), z)

    return jax.lax.scan(body, x, (jnp.arange(noise.shape[0], 0, -1), noise))


def matching_loss(schedule: Schedule, predict, x0: Array, noise: Array, k: Array, weight: Array) -> Array:
    """Behaviour cloning: squared error of predict(x_k, k), mean over dimensions, times the weight (B,), mean over B."""
    error = (predict(schedule.add_noise(x0, noise, k), k) - noise) ** 2
    return (weight * error.mean(axis=-1)).mean()


class StepEmbedding(nn.Module):
    """Features of a step: cosines and sines, then a small mish MLP.

    Frequencies fall from 1 to 1/10,000 geometrically, or are learned (then the angle is 2π k w).
    """

    features: int
    widths: Sequence[int]
    learned: bool = False
    activate_final: bool = False

    @nn.compact
    def __call__(self, step: Array) -> Array:
        """Map steps (..., 1) to (..., widths[-1])."""
        half = self.features // 2
        if self.learned:
            angles = 2 * jnp.pi * step * self.param("frequencies", nn.initializers.normal(0.2), (half,))
        else:
            angles = step * jnp.exp(-jnp.log(1e4) * jnp.arange(half) / (half - 1))
        mlp = MLP(self.widths, jax.nn.mish, activate_final=self.activate_final, name="mlp")
        return mlp(jnp.cos(angles), jnp.sin(angles))


class NoiseNetwork(nn.Module):
    """ε(s, x, k): a mish MLP without LayerNorm on [x, s, features of k]."""

    hidden: Sequence[int]
    action_dim: int
    embedding: StepEmbedding

    @nn.compact
    def __call__(self, observation: Array, x: Array, step: Array) -> Array:
        """Map (..., O), (..., A), (..., 1) to predicted noise (..., A)."""
        return MLP((*self.hidden, self.action_dim), jax.nn.mish, name="mlp")(x, observation, self.embedding(step))
