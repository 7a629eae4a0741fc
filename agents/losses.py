"""Value losses that several algorithms share."""

from __future__ import annotations

import jax.numpy as jnp
from jax import Array


def td_loss(values: Array, target: Array, valid: Array) -> Array:
    """L_TD: mean over ensemble and batch of v (Q_e - y)², from values (E, B), target (B,), valid (B,)."""
    return (valid * (values - target) ** 2).mean()


def expectile_loss(error: Array, expectile: Array | float) -> Array:
    """ω(e) e² elementwise, with ω = κ where e = target - prediction ≥ 0, else 1 - κ."""
    return jnp.where(error >= 0, expectile, 1 - expectile) * error**2
