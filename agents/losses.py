"""Value losses that several algorithms share."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import Array


def td_loss(values: Array, target: Array, valid: Array) -> Array:
    """L_TD: mean over ensemble and batch of v (Q_e - y)², from values (E, B), target (B,), valid (B,)."""
    return (valid * (values - target) ** 2).mean()


def magnitude(values: Array) -> Array:
    """sg[mean |values|], a scalar to divide a value by; 1 where all are exactly 0, and 0 / 0 would end a run.

    A LayerNorm over one unit makes them 0, and then they stay 0 until a critic's last bias has moved.
    """
    mean = jax.lax.stop_gradient(jnp.abs(values).mean())
    return jnp.where(mean == 0, 1, mean)


def expectile_loss(error: Array, expectile: Array | float) -> Array:
    """ω(e) e² elementwise, with ω = κ where e = target - prediction ≥ 0, else 1 - κ."""
    return jnp.where(error >= 0, expectile, 1 - expectile) * error**2
