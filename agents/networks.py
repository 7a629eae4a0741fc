"""Networks: plain MLPs, ensembles of critics, vector fields and policies.

Every network concatenates its inputs in the order given and feeds one MLP. A layer is Dense -> activation ->
LayerNorm (LayerNorm comes *after* the activation, with ε = 1e-6), as in the authors' code. Critics and values have
LayerNorm, policies and vector fields have none unless they are told to.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array


def glorot(scale: float = 1.0) -> Callable:
    """Glorot-uniform initialiser whose *variance* is multiplied by `scale`."""
    return nn.initializers.variance_scaling(scale, "fan_avg", "uniform")


class MLP(nn.Module):
    """Dense layers of the given widths; the last is linear unless `activate_final`."""

    widths: Sequence[int]
    activation: Callable[[Array], Array] = nn.gelu  # the tanh approximation
    layer_norm: bool = False
    activate_final: bool = False

    @nn.compact
    def __call__(self, *inputs: Array) -> Array:
        """Map inputs (..., n_i), concatenated, to (..., widths[-1])."""
        x = jnp.concatenate(inputs, axis=-1)
        for layer, width in enumerate(self.widths):
            x = nn.Dense(width, kernel_init=glorot(), name=f"dense_{layer}")(x)
            if layer + 1 < len(self.widths) or self.activate_final:
                x = self.activation(x)
                if self.layer_norm:
                    x = nn.LayerNorm(epsilon=1e-6, name=f"norm_{layer}")(x)
        return x


def ensemble_of(module: type[nn.Module], members: int) -> type[nn.Module]:
    """A module class of independent copies that see the same inputs; their outputs are stacked on a new first axis."""
    return nn.vmap(
        module,
        variable_axes={"params": 0},
        split_rngs={"params": True},
        in_axes=None,
        out_axes=0,
        axis_size=members,
    )


class Value(nn.Module):
    """A scalar function of its inputs: a critic Q(s, a), a state value V(s), a value V(s, x, f).

    With `ensemble` set, that many independent copies on a new leading axis: output (E, B) instead of (B,).
    """

    hidden: Sequence[int]
    ensemble: int | None = None

    @nn.compact
    def __call__(self, *inputs: Array) -> Array:
        """Map inputs (B, n_i) to (E, B), or to (B,) without an ensemble."""
        mlp = MLP if self.ensemble is None else ensemble_of(MLP, self.ensemble)
        return mlp((*self.hidden, 1), layer_norm=True, name="mlp")(*inputs).squeeze(-1)


class VectorField(nn.Module):
    """A flow's velocity u(s, x, t), or a one-step policy μ(s, z): inputs (B, n_i) to (B, A), unbounded."""

    hidden: Sequence[int]
    action_dim: int
    layer_norm: bool = False

    @nn.compact
    def __call__(self, *inputs: Array) -> Array:
        """Map inputs (B, n_i) to (B, action_dim)."""
        return MLP((*self.hidden, self.action_dim), layer_norm=self.layer_norm, name="mlp")(*inputs)


def ensemble_mean(values: Array) -> Array:
    """Mean over the ensemble axis: (E, B) to (B,)."""
    return values.mean(axis=0)


def pessimistic(values: Array, pessimism: Array | float) -> Array:
    """P_ρ: the ensemble's mean minus ρ population standard deviations, (E, B) to (B,).

    Where all members agree, which two do now and then to the last bit, the deviation has the gradient 0 instead of NaN.
    """
    variance = values.var(axis=0)
    agree = variance == 0
    deviation = jnp.where(agree, 0, jnp.sqrt(jnp.where(agree, 1, variance)))
    return values.mean(axis=0) - pessimism * deviation


def parameter_count(parameters: dict) -> int:
    """Number of scalars in a parameter tree."""
    return sum(leaf.size for leaf in jax.tree.leaves(parameters))
