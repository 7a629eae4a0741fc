"""FAWAC: a flow policy cloned from the data with weights that grow exponentially with the advantage.

Paper: AWAC, Nair et al., arXiv 2006.09359; with a flow in Park, Li, Levine, arXiv 2502.02538. Tuned: inv_temp.
Differs from the latter, as the QAM paper's baseline does (arXiv 2601.14234): action chunks, ten critics with
pessimism ρ instead of two, and the advantage's baseline is a learned V(s), regressed onto Q of the data's actions.
"""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from agents import flow
from agents.base import Agent, Config, normal, option, uniform
from agents.losses import td_loss
from agents.networks import Value, ensemble_mean, pessimistic


@dataclass(frozen=True)
class FAWACConfig(Config):
    """FAWAC's hyperparameters."""

    inv_temp: float = option(10.0, "β in the weight exp(β (Q - V)): larger prefers better actions", low=0)
    max_weight: float = option(100.0, "cap of that weight", low=0)
    flow_steps: int = option(10, "Euler steps of the flow, F", low=1, high=1000)


class FAWAC(Agent):
    """Critic Q(s, a), state value V(s), flow u(s, x, t)."""

    name = "fawac"
    Config = FAWACConfig

    def networks(self):
        return {
            "critic": (self.critic(), "observation action"),
            "value": (Value(self.config.hidden), "observation"),
            "flow": (self.vector_field(), "observation action time"),
        }

    def draws(self, batch_size):
        B, A = batch_size, self.chunk_dim
        return {"next_latent": normal(B, A), "x0": normal(B, A), "t": uniform(B, 1)}

    def loss(self, train, fixed, target, batch, noise):
        critic_loss = self.critic_loss(train, fixed, target, batch, noise)
        value_loss = self.value_loss(train, target, batch)
        weights = self.weights(fixed, batch)
        flow_loss = self.flow_loss(train, batch, noise, weights)
        total = critic_loss + value_loss + flow_loss
        metrics = dict(critic_loss=critic_loss, value_loss=value_loss, flow_loss=flow_loss, weight_mean=weights.mean())
        return total, metrics

    def critic_loss(self, train, fixed, target, batch, noise):
        """L_TD with a' = Φ_u(s', z')."""
        s_next = batch.next_observations
        a_next = flow.actions(fixed.flow, s_next, noise["next_latent"], self.config.flow_steps)
        y = self.td_target(batch, pessimistic(target.critic(s_next, a_next), self.config.pessimism))
        return td_loss(train.critic(batch.observations, batch.actions), y, batch.valid)

    def value_loss(self, train, target, batch):
        """L_V = mean v (Q̄_e(s, a) - V(s))², over the members too: the value of the *data's* actions."""
        q = target.critic(batch.observations, batch.actions)
        return (batch.valid * (q - train.value(batch.observations)) ** 2).mean()

    def weights(self, fixed, batch):
        """W = min(exp(β (Q(s, a) - V(s))), cap), (B,)."""
        q = ensemble_mean(fixed.critic(batch.observations, batch.actions))
        advantage = q - fixed.value(batch.observations)
        return jnp.minimum(jnp.exp(self.config.inv_temp * advantage), self.config.max_weight)

    def flow_loss(self, train, batch, noise, weights):
        """L_FM, each sample weighted with v W."""
        return flow.cloning_loss(train.flow, batch, noise, batch.valid * weights)

    def sample_actions(self, online, target, observations, rng):
        z = jax.random.normal(rng, (observations.shape[0], self.chunk_dim))
        return flow.actions(online.flow, observations, z, self.config.flow_steps)
