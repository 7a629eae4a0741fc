"""QGF, Q-guided flow: a cloned flow that the critic's gradient steers at acting only; no policy is trained on values.

The flow clones, an expectile value V(s) and a critic Q(s, a) learn from the data's actions alone. When acting, each
Euler step adds w ∇Q to the velocity, where Q is asked at a guess of the clean action, one long Euler step ahead; the
guess's Jacobian is taken for the identity. So w is chosen after training, on one trained state.

Paper: Zhou et al., arXiv 2606.11087. Tuned: guidance_weight. `guess` also gives its QFQL ("noisy": Q is asked at x
itself) and QGF-Jacobian ("jacobian": the gradient passes the guess, flow and clip included).
Differs from the authors' runs, not from their code: this benchmark's rewards, masks, discount and data instead of dense
rewards, a time-out that ends the bootstrap, γ = 0.999 and 100M transitions everywhere; their online phase, which
explores at w = 1, is left out: online it acts as it is evaluated.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from agents import flow
from agents.base import Agent, Config, integers, normal, option
from agents.losses import expectile_loss, td_loss
from agents.networks import combined, ensemble_of, glorot

FREQUENCIES = np.array(
    [1, 0.31622776, 0.099999994, 0.031622775, 0.01, 0.0031622767, 0.00099999993, 0.00031622779], np.float32
)
"""10^(-j/2), j = 0..7, as the authors' code has them to the last bit: angles reach 10^4, where that bit is 1e-3."""


@dataclass(frozen=True)
class QGFConfig(Config):
    """QGF's hyperparameters."""

    pessimism: ClassVar[Any] = None  # type: ignore[misc]
    guidance_weight: float = option(0.04, "w: strength of the guidance at acting; 0 is behaviour cloning", low=0)
    expectile: float = option(0.9, "κ of the value regression: larger is more optimistic", low=0, high=1)
    q_aggregation: str = option("min", "what of the target critic's members counts", choices=("min", "mean"))
    guess: str = option("one_step", "where guidance asks Q for its gradient", choices=("one_step", "noisy", "jacobian"))
    candidates: int = option(1, "action chunks drawn per observation, of which the best is executed", low=1, high=1000)
    flow_steps: int = option(10, "Euler steps of the flow, F", low=1, high=1000)
    ensemble: int = option(2, "members of the critic, E", low=1)


class NormFirst(nn.Module):
    """Layers Dense -> LayerNorm -> GELU, without the LayerNorm after the first `norms`; the last is linear."""

    widths: tuple[int, ...]
    norms: int
    head: nn.initializers.Initializer = glorot()

    @nn.compact
    def __call__(self, *inputs):
        """Map inputs (..., n_i), concatenated, to (..., widths[-1])."""
        x, last = jnp.concatenate(inputs, axis=-1), len(self.widths) - 1
        for layer, width in enumerate(self.widths[:-1]):
            x = nn.Dense(width, kernel_init=glorot(), name=f"dense_{layer}")(x)
            if layer < self.norms:
                x = nn.LayerNorm(epsilon=1e-6, name=f"norm_{layer}")(x)
            x = nn.gelu(x)
        return nn.Dense(self.widths[-1], kernel_init=self.head, name=f"dense_{last}")(x)


class NormFirstValue(nn.Module):
    """V(s), (B,), or with `ensemble` a critic, (E, B)."""

    hidden: tuple[int, ...]
    ensemble: int | None = None

    @nn.compact
    def __call__(self, *inputs):
        """Map inputs (B, n_i) to values."""
        mlp = NormFirst if self.ensemble is None else ensemble_of(NormFirst, self.ensemble)
        return mlp((*self.hidden, 1), len(self.hidden), name="mlp")(*inputs).squeeze(-1)


class NormFirstField(nn.Module):
    """A velocity u(s, x, t) that sees t as 16 sines and cosines."""

    hidden: tuple[int, ...]
    action_dim: int

    @nn.compact
    def __call__(self, observations, x, t):
        """Map (B, O), (B, A), (B, 1) to (B, A)."""
        widths, head = (*self.hidden, self.action_dim), nn.initializers.lecun_normal()
        return NormFirst(widths, len(self.hidden) - 1, head, name="mlp")(observations, x, time_features(t))


def time_features(t):
    """cos(10⁴ t ω_j) and then sin(10⁴ t ω_j), (..., 16), of times (..., 1); in 32 bits, as in the authors' code."""
    scaled = 1e4 * t.astype(jnp.float32)
    angles = scaled * FREQUENCIES
    return jnp.concatenate([jnp.cos(angles), jnp.sin(angles)], axis=-1)


class QGF(Agent):
    """State value V(s), critic Q(s, a), behaviour-cloning flow u(s, x, t)."""

    name = "qgf"
    Config = QGFConfig
    acting_options = ("guidance_weight", "guess", "candidates")

    def networks(self):
        c = self.config
        return {
            "value": (NormFirstValue(c.hidden), "observation"),
            "critic": (NormFirstValue(c.hidden, c.ensemble), "observation action"),
            "flow": (NormFirstField(c.hidden, self.chunk_dim), "observation action time"),
        }

    def draws(self, batch_size):
        return {"x0": normal(batch_size, self.chunk_dim), "step": integers(0, self.config.flow_steps + 1, batch_size)}

    def loss(self, train, fixed, target, batch, noise):
        terms = dict(
            value_loss=self.value_loss(train, target, batch),
            critic_loss=self.critic_loss(train, fixed, batch),
            flow_loss=self.flow_loss(train, batch, noise),
        )
        return sum(terms.values()), terms

    def value_loss(self, train, target, batch):
        """L_V: expectile regression of V(s) onto the aggregated Q̄(s, a)."""
        error = self.aggregated(target, batch.observations, batch.actions) - train.value(batch.observations)
        return (batch.valid * expectile_loss(error, self.config.expectile)).mean()

    def critic_loss(self, train, fixed, batch):
        """L_Q: y = R + γ^H m V(s')."""
        y = self.td_target(batch, fixed.value(batch.next_observations))
        return td_loss(train.critic(batch.observations, batch.actions), y, batch.valid)

    def flow_loss(self, train, batch, noise):
        """L_FM on the grid of times {0, 1/F, ..., 1}; invalid chunks count too, as in the authors' code."""
        steps = self.config.flow_steps
        t = jnp.asarray(np.arange(steps + 1, dtype=np.float32) / np.float32(steps))[noise["step"]][:, None]
        x0, actions = noise["x0"], batch.actions
        velocity = train.flow(batch.observations, flow.interpolate(x0, actions, t), t)
        return flow.matching_error(velocity, x0, actions).mean()

    def aggregated(self, target, s, actions):
        """The smallest or the mean member of Q̄(s, a), (B,)."""
        return combined(target.critic(s, actions), self.config.q_aggregation)

    def guided_actions(self, online, target, s, z):
        """The flow from noise z (B, A), with velocity u + w ∇Q̄(s, x̂)."""
        guess = self.config.guess

        def velocity(x, t):
            def ahead(x):
                u = online.flow(s, x, t)
                return (x if guess == "noisy" else jnp.clip(x + (1 - t) * u, -1, 1)), u

            x_hat, pullback, u = jax.vjp(ahead, x, has_aux=True)
            slope = jax.grad(lambda a: self.aggregated(target, s, a).sum())(x_hat)
            return u + self.config.guidance_weight * (pullback(slope)[0] if guess == "jacobian" else slope)

        return flow.euler(velocity, z, self.config.flow_steps)

    def sample_actions(self, online, target, observations, rng):
        """The best of n chains by the aggregated Q̄; the first wins a tie."""
        n = self.config.candidates
        s = jnp.repeat(observations, n, axis=0)
        actions = self.guided_actions(online, target, s, jax.random.normal(rng, (s.shape[0], self.chunk_dim)))
        best = self.aggregated(target, s, actions).reshape(-1, n).argmax(axis=1)
        return actions.reshape(-1, n, self.chunk_dim)[jnp.arange(len(best)), best]
