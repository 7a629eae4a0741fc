"""DSRL: a Gaussian policy steers a behaviour-cloning flow by choosing its initial noise.

Two critics: Q(s, a) of actions, and Z(s, z) of noises, distilled from Q through the flow; the policy climbs Z.

Paper: Wagenmaker et al., arXiv 2506.15799. Tuned: noise_scale.
Differs from the paper, as the QAM paper's baseline does (arXiv 2601.14234): the flow is cloned in the same run, action
chunks, ten critics with pessimism ρ. The target flow maps noise to actions, also at evaluation, where the policy
stays stochastic.
"""

from __future__ import annotations

from dataclasses import dataclass

import jax

from agents import flow
from agents.base import Agent, Config, normal, option, uniform
from agents.losses import td_loss
from agents.networks import ensemble_mean, pessimistic
from agents.stochastic import TanhNormal, Temperature, entropy_loss, squashed_sample, temperature_loss


@dataclass(frozen=True)
class DSRLConfig(Config):
    """DSRL's hyperparameters."""

    noise_scale: float = option(1.0, "c: largest coordinate of the noise that the policy gives the flow", low=0)
    target_entropy: float = option(-0.5, "𝓗 per action coordinate, held by the temperature")
    flow_steps: int = option(10, "Euler steps of the flow, F", low=1, high=1000)


class DSRL(Agent):
    """Critic Q(s, a), noise critic Z(s, z), behaviour-cloning flow u(s, x, t), noise policy π(s), temperature α."""

    name = "dsrl"
    Config = DSRLConfig
    targets = ("critic", "flow")

    def networks(self):
        return {
            "critic": (self.critic(), "observation action"),
            "noise_critic": (self.critic(), "observation action"),
            "flow": (self.vector_field(), "observation action time"),
            "noise_policy": (TanhNormal(self.config.hidden, self.chunk_dim), "observation"),
            "temperature": (Temperature(), ""),
        }

    def draws(self, batch_size):
        B, A = batch_size, self.chunk_dim
        return {
            "next_policy": normal(B, A),
            "latent": normal(B, A),
            "x0": normal(B, A),
            "t": uniform(B, 1),
            "policy": normal(B, A),
        }

    def loss(self, train, fixed, target, batch, noise):
        terms = dict(
            critic_loss=self.critic_loss(train, fixed, target, batch, noise),
            noise_critic_loss=self.noise_critic_loss(train, fixed, target, batch, noise),
            flow_loss=self.flow_loss(train, batch, noise),
            **self.policy_losses(train, fixed, batch, noise),
        )
        return sum(terms.values()), terms

    def critic_loss(self, train, fixed, target, batch, noise):
        """L_TD with a' = Φ_ū(s', c y), y ~ π(s')."""
        s_next = batch.next_observations
        a_next = self.steered(fixed, target, s_next, noise["next_policy"])
        y = self.td_target(batch, pessimistic(target.critic(s_next, a_next), self.config.pessimism))
        return td_loss(train.critic(batch.observations, batch.actions), y, batch.valid)

    def noise_critic_loss(self, train, fixed, target, batch, noise):
        """L_Z = mean (Z_e(s, n) - Q_e(s, Φ_ū(s, n)))², member by member, with n ~ N(0, I) unscaled."""
        s, n = batch.observations, noise["latent"]
        q = fixed.critic(s, flow.actions(target.flow, s, n, self.config.flow_steps))
        return ((train.noise_critic(s, n) - q) ** 2).mean()

    def flow_loss(self, train, batch, noise):
        """L_FM: behaviour cloning."""
        return flow.cloning_loss(train.flow, batch, noise)

    def policy_losses(self, train, fixed, batch, noise):
        """L_π = mean (α log π(y) - Z(s, c y)), and L_α; the density is that of the unscaled y."""
        s = batch.observations
        mean, log_std = train.noise_policy(s)
        y, log_density = squashed_sample(mean, log_std, noise["policy"])
        value = ensemble_mean(fixed.noise_critic(s, self.config.noise_scale * y))
        target_entropy = self.config.target_entropy * self.chunk_dim
        return dict(
            policy_loss=entropy_loss(fixed.temperature(), log_density) - value.mean(),
            temperature_loss=temperature_loss(train.temperature(), log_density, target_entropy),
        )

    def steered(self, online, target, observations, noise):
        """Φ_ū(s, c y) with y ~ π(s): the online noise policy on the target flow."""
        mean, log_std = online.noise_policy(observations)
        y, _ = squashed_sample(mean, log_std, noise)
        return flow.actions(target.flow, observations, self.config.noise_scale * y, self.config.flow_steps)

    def sample_actions(self, online, target, observations, rng):
        noise = jax.random.normal(rng, (observations.shape[0], self.chunk_dim))
        return self.steered(online, target, observations, noise)
