"""FBRAC: a flow policy that maximises Q by backpropagation through all of its Euler steps, beside behaviour cloning.

Paper: Wang et al., Diffusion-QL, arXiv 2208.06193; with a flow in Park, Li, Levine, arXiv 2502.02538. Tuned: alpha.
Differs from the latter, as the QAM paper's baseline does (arXiv 2601.14234): action chunks, ten critics with
pessimism ρ instead of two, and alpha divides the Q term instead of multiplying the cloning term.
"""

from __future__ import annotations

from dataclasses import dataclass

import jax

from agents import flow
from agents.base import Agent, Config, normal, option, uniform
from agents.losses import td_loss
from agents.networks import ensemble_mean, pessimistic


@dataclass(frozen=True)
class FBRACConfig(Config):
    """FBRAC's hyperparameters."""

    alpha: float = option(100.0, "divides the Q term: larger stays closer to the data", low=1e-6)
    flow_steps: int = option(10, "Euler steps of the flow, F", low=1, high=1000)


class FBRAC(Agent):
    """Critic Q(s, a), flow u(s, x, t)."""

    name = "fbrac"
    Config = FBRACConfig

    def networks(self):
        return {
            "critic": (self.critic(), "observation action"),
            "flow": (self.vector_field(), "observation action time"),
        }

    def draws(self, batch_size):
        B, A = batch_size, self.chunk_dim
        return {"next_latent": normal(B, A), "x0": normal(B, A), "t": uniform(B, 1), "latent": normal(B, A)}

    def loss(self, train, fixed, target, batch, noise):
        critic_loss = self.critic_loss(train, fixed, target, batch, noise)
        flow_loss = self.flow_loss(train, batch, noise)
        q_loss = self.q_loss(train, fixed, batch, noise)
        total = critic_loss + flow_loss + q_loss / self.config.alpha
        return total, dict(critic_loss=critic_loss, flow_loss=flow_loss, q_loss=q_loss)

    def critic_loss(self, train, fixed, target, batch, noise):
        """L_TD with a' = Φ_u(s', z')."""
        s_next = batch.next_observations
        a_next = flow.actions(fixed.flow, s_next, noise["next_latent"], self.config.flow_steps)
        y = self.td_target(batch, pessimistic(target.critic(s_next, a_next), self.config.pessimism))
        return td_loss(train.critic(batch.observations, batch.actions), y, batch.valid)

    def flow_loss(self, train, batch, noise):
        """L_FM: behaviour cloning."""
        return flow.cloning_loss(train.flow, batch, noise)

    def q_loss(self, train, fixed, batch, noise):
        """-mean Q(s, Φ_u(s, z)), with gradient through the clip and every Euler step."""
        s = batch.observations
        action = flow.actions(train.flow, s, noise["latent"], self.config.flow_steps)
        return -ensemble_mean(fixed.critic(s, action)).mean()

    def sample_actions(self, online, target, observations, rng):
        z = jax.random.normal(rng, (observations.shape[0], self.chunk_dim))
        return flow.actions(online.flow, observations, z, self.config.flow_steps)
