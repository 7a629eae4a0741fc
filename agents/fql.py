"""FQL, flow Q-learning: a one-step policy distilled from a behaviour-cloning flow while it maximises Q.

Paper: Park, Li, Levine, arXiv 2502.02538; with action chunks as in Q-chunking (arXiv 2507.07969).
Tuned: alpha. Differs from the paper, as the QAM paper's baseline does (arXiv 2601.14234): action chunks, ten critics
with pessimism ρ instead of two.
"""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from agents import flow
from agents.base import Agent, Config, normal, option, uniform
from agents.losses import magnitude, td_loss
from agents.networks import ensemble_mean, pessimistic


@dataclass(frozen=True)
class FQLConfig(Config):
    """FQL's hyperparameters."""

    alpha: float = option(100.0, "weight of the distillation term: larger stays closer to the data", low=0)
    flow_steps: int = option(10, "Euler steps of the flow, F", low=1, high=1000)


def one_step_losses(action, teacher, critic, normalize=False):
    """L_dist = mean (μ - Φ)² and L_Q = -mean Q(clip(μ)), for a one-step policy's unclipped actions μ (B, A), those of
    its teacher Φ from the same noise, and a critic a -> (E, B); Q may be normalised to a mean magnitude of 1."""
    distillation = ((action - teacher) ** 2).mean()
    q = ensemble_mean(critic(jnp.clip(action, -1, 1)))
    return distillation, -q.mean() / magnitude(q) if normalize else -q.mean()


class FQL(Agent):
    """Critic Q(s, a), behaviour-cloning flow u(s, x, t), one-step policy μ(s, z)."""

    name = "fql"
    Config = FQLConfig

    def networks(self):
        return {
            "critic": (self.critic(), "observation action"),
            "flow": (self.vector_field(), "observation action time"),
            "one_step": (self.vector_field(), "observation action"),
        }

    def draws(self, batch_size):
        B, A = batch_size, self.chunk_dim
        return {"next_latent": normal(B, A), "x0": normal(B, A), "t": uniform(B, 1), "latent": normal(B, A)}

    def loss(self, train, fixed, target, batch, noise):
        critic_loss = self.critic_loss(train, fixed, target, batch, noise)
        flow_loss = self.flow_loss(train, batch, noise)
        distillation, q_loss = self.policy_losses(train, fixed, batch, noise)
        total = critic_loss + flow_loss + self.config.alpha * distillation + q_loss
        return total, dict(critic_loss=critic_loss, flow_loss=flow_loss, distillation_loss=distillation, q_loss=q_loss)

    def critic_loss(self, train, fixed, target, batch, noise):
        """L_TD with a' = clip(μ(s', z'))."""
        s_next = batch.next_observations
        a_next = jnp.clip(fixed.one_step(s_next, noise["next_latent"]), -1, 1)
        y = self.td_target(batch, pessimistic(target.critic(s_next, a_next), self.config.pessimism))
        return td_loss(train.critic(batch.observations, batch.actions), y, batch.valid)

    def flow_loss(self, train, batch, noise):
        """L_FM: behaviour cloning."""
        return flow.cloning_loss(train.flow, batch, noise)

    def policy_losses(self, train, fixed, batch, noise):
        """L_dist and L_Q of the one-step policy, with the behaviour flow as its teacher."""
        s, z = batch.observations, noise["latent"]
        teacher = flow.actions(fixed.flow, s, z, self.config.flow_steps)
        return one_step_losses(train.one_step(s, z), teacher, lambda a: fixed.critic(s, a))

    def sample_actions(self, online, target, observations, rng):
        z = jax.random.normal(rng, (observations.shape[0], self.chunk_dim))
        return jnp.clip(online.one_step(observations, z), -1, 1)
