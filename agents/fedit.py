"""FEdit: a Gaussian policy adds bounded edits to the actions of a behaviour-cloning flow.

Paper: EXPO, Dong et al., arXiv 2507.07986. Tuned: edit_scale.
Differs from the paper, as the QAM paper's baseline does (arXiv 2601.14234): trained offline, action chunks, ten critics
with pessimism ρ, and one edited action instead of the best of several. Edits are drawn at evaluation too.
"""

from __future__ import annotations

from dataclasses import dataclass

import jax

from agents import flow
from agents.base import Agent, Config, normal, option, uniform
from agents.losses import td_loss
from agents.networks import pessimistic
from agents.stochastic import TanhNormal, Temperature, edit_losses, edited_action


@dataclass(frozen=True)
class FEditConfig(Config):
    """FEdit's hyperparameters."""

    edit_scale: float = option(
        0.0, "c: largest change of an action coordinate; smaller stays closer to the data", low=0, off=True
    )
    target_entropy: float = option(-0.5, "𝓗 per action coordinate, held by the temperature")
    flow_steps: int = option(10, "Euler steps of the flow, F", low=1, high=1000)


class FEdit(Agent):
    """Critic Q(s, a), behaviour-cloning flow u(s, x, t), edit policy π(s, f), its temperature α."""

    name = "fedit"
    Config = FEditConfig

    def networks(self):
        return {
            "critic": (self.critic(), "observation action"),
            "flow": (self.vector_field(), "observation action time"),
            "edit": (TanhNormal(self.config.hidden, self.chunk_dim), "observation action"),
            "temperature": (Temperature(), ""),
        }

    def draws(self, batch_size):
        B, A = batch_size, self.chunk_dim
        return {
            "next_latent": normal(B, A),
            "next_edit": normal(B, A),
            "x0": normal(B, A),
            "t": uniform(B, 1),
            "latent": normal(B, A),
            "edit": normal(B, A),
        }

    def loss(self, train, fixed, target, batch, noise):
        critic_loss = self.critic_loss(train, fixed, target, batch, noise)
        flow_loss = self.flow_loss(train, batch, noise)
        policy_losses = self.policy_losses(train, fixed, batch, noise)
        total = critic_loss + flow_loss + sum(policy_losses.values())
        return total, dict(critic_loss=critic_loss, flow_loss=flow_loss, **policy_losses)

    def critic_loss(self, train, fixed, target, batch, noise):
        """L_TD with a' an edited action of the flow."""
        s_next = batch.next_observations
        a_next = self.edited(fixed, s_next, noise["next_latent"], noise["next_edit"])
        y = self.td_target(batch, pessimistic(target.critic(s_next, a_next), self.config.pessimism))
        return td_loss(train.critic(batch.observations, batch.actions), y, batch.valid)

    def flow_loss(self, train, batch, noise):
        """L_FM: behaviour cloning."""
        return flow.cloning_loss(train.flow, batch, noise)

    def policy_losses(self, train, fixed, batch, noise):
        """Edits of f = Φ_u(s, z), a constant, that raise Q and keep their entropy near A 𝓗."""
        base = flow.actions(fixed.flow, batch.observations, noise["latent"], self.config.flow_steps)
        target_entropy = self.config.target_entropy * self.chunk_dim
        return edit_losses(
            train, fixed, batch.observations, base, noise["edit"], self.config.edit_scale, target_entropy
        )

    def edited(self, networks, observations, latent, noise):
        """clip(f + c EDIT(s, f, ξ)) with f = Φ_u(s, z)."""
        base = flow.actions(networks.flow, observations, latent, self.config.flow_steps)
        return edited_action(networks.edit, observations, base, noise, self.config.edit_scale)[0]

    def sample_actions(self, online, target, observations, rng):
        latent, noise = jax.random.normal(rng, (2, observations.shape[0], self.chunk_dim))
        return self.edited(online, observations, latent, noise)
