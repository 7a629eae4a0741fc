"""Boltzmann flow: draw a few action chunks from a behaviour-cloning flow, and choose among them by softmax of β Q.

Close to best-of-n with chunked critics (QC, Li, Zhou, Levine, arXiv 2507.07969), which is its limit β -> ∞; β = 0 is
cloning. The softness is the one thing to tune. See TUTORIAL.md.
"""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from agents import flow
from agents.base import Agent, Config, normal, option, uniform
from agents.losses import td_loss
from agents.networks import pessimistic


@dataclass(frozen=True)
class BoltzmannFlowConfig(Config):
    """Boltzmann flow's hyperparameters."""

    inv_temp: float = option(1.0, "β of the choice: 0 is cloning, larger is greedier", low=0)
    candidates: int = option(16, "action chunks to choose from, n", low=1)
    flow_steps: int = option(10, "Euler steps of the flow, F", low=1)


class BoltzmannFlow(Agent):
    """Critic Q(s, a), behaviour-cloning flow u(s, x, t)."""

    name = "boltzmann_flow"
    Config = BoltzmannFlowConfig
    suite_settings = {"toy": {"inv_temp": 10.0}}  # noqa: RUF012

    def networks(self):
        return {
            "critic": (self.critic(), "observation action"),
            "flow": (self.vector_field(), "observation action time"),
        }

    def draws(self, batch_size):
        B, A = batch_size, self.chunk_dim
        return {"next_latent": normal(self.config.candidates, B, A), "x0": normal(B, A), "t": uniform(B, 1)}

    def loss(self, train, fixed, target, batch, noise):
        critic_loss = self.critic_loss(train, fixed, target, batch, noise)
        flow_loss = flow.matching_loss(
            lambda x, t: train.flow(batch.observations, x, t), noise["x0"], batch.actions, noise["t"], batch.valid
        )
        return critic_loss + flow_loss, dict(critic_loss=critic_loss, flow_loss=flow_loss)

    def critic_loss(self, train, fixed, target, batch, noise):
        """L_TD with the value of the policy at s': mean of P_ρ[Q̄] over candidates, weighted by softmax(β P_ρ[Q̄])."""
        _, values = self.candidates(fixed, target, batch.next_observations, noise["next_latent"])
        next_value = (jax.nn.softmax(self.config.inv_temp * values, axis=0) * values).sum(axis=0)
        return td_loss(train.critic(batch.observations, batch.actions), self.td_target(batch, next_value), batch.valid)

    def candidates(self, networks, critics, s, latent):
        """Action chunks (n, B, A) of the flow from latents (n, B, A), and their values P_ρ[Q] (n, B)."""
        s = jnp.broadcast_to(s, (*latent.shape[:-1], s.shape[-1]))
        actions = flow.euler(lambda x, t: networks.flow(s, x, t), latent, self.config.flow_steps)
        return actions, pessimistic(critics.critic(s, actions), self.config.pessimism)

    def sample_actions(self, online, target, observations, rng):
        """A candidate drawn with probability softmax(β P_ρ[Q])."""
        latent_rng, choice_rng = jax.random.split(rng)
        latent = jax.random.normal(latent_rng, (self.config.candidates, len(observations), self.chunk_dim))
        actions, values = self.candidates(online, online, observations, latent)
        chosen = jax.random.categorical(choice_rng, self.config.inv_temp * values, axis=0)
        return actions[chosen, jnp.arange(len(observations))]
