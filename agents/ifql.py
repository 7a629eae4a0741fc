"""IFQL, implicit flow Q-learning: expectile values, a behaviour-cloning flow, and best-of-n at acting.

Paper: IDQL, Hansen-Estruch et al., arXiv 2304.10573; with a flow in Park, Li, Levine, arXiv 2502.02538.
Tuned: expectile. Differs from the latter, as the QAM paper's baseline does (arXiv 2601.14234): action chunks, ten
critics, the expectile regression on mean minus ρ standard deviations instead of the smaller of two.
"""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from agents import flow
from agents.base import Agent, Config, normal, option, uniform
from agents.losses import expectile_loss, td_loss
from agents.networks import Value, pessimistic


@dataclass(frozen=True)
class IFQLConfig(Config):
    """IFQL's hyperparameters."""

    expectile: float = option(0.9, "κ of the value regression: larger is more optimistic", low=0, high=1)
    flow_steps: int = option(10, "Euler steps of the flow, F", low=1, high=1000)
    candidates: int = option(32, "action chunks drawn per observation, of which the best is executed", low=1, high=1000)


class IFQL(Agent):
    """State value V(s), critic Q(s, a), behaviour-cloning flow u(s, x, t)."""

    name = "ifql"
    Config = IFQLConfig

    def networks(self):
        return {
            "value": (Value(self.config.hidden), "observation"),
            "critic": (self.critic(), "observation action"),
            "flow": (self.vector_field(), "observation action time"),
        }

    def draws(self, batch_size):
        return {"x0": normal(batch_size, self.chunk_dim), "t": uniform(batch_size, 1)}

    def loss(self, train, fixed, target, batch, noise):
        value_loss = self.value_loss(train, target, batch)
        critic_loss = self.critic_loss(train, fixed, batch)
        flow_loss = flow.cloning_loss(train.flow, batch, noise)
        total = value_loss + critic_loss + flow_loss
        return total, dict(value_loss=value_loss, critic_loss=critic_loss, flow_loss=flow_loss)

    def value_loss(self, train, target, batch):
        """L_V: expectile regression of V(s) onto P_ρ[Q̄(s, a)]; invalid chunks count too, as in the authors' code."""
        q = pessimistic(target.critic(batch.observations, batch.actions), self.config.pessimism)
        return expectile_loss(q - train.value(batch.observations), self.config.expectile).mean()

    def critic_loss(self, train, fixed, batch):
        """L_Q: y = R + γ^H m V(s')."""
        y = self.td_target(batch, fixed.value(batch.next_observations))
        return td_loss(train.critic(batch.observations, batch.actions), y, batch.valid)

    def sample_actions(self, online, target, observations, rng):
        """Best of n by the *smallest* member of the online critic; the first wins a tie."""
        n = self.config.candidates
        z = jax.random.normal(rng, (observations.shape[0] * n, self.chunk_dim))
        s = jnp.repeat(observations, n, axis=0)
        actions = flow.actions(online.flow, s, z, self.config.flow_steps)
        scores = online.critic(s, actions).min(axis=0).reshape(-1, n)
        best = scores.argmax(axis=1)[:, None, None]
        return jnp.take_along_axis(actions.reshape(-1, n, self.chunk_dim), best, axis=1).squeeze(1)
