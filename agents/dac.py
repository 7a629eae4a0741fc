"""DAC, diffusion actor-critic: a denoising policy whose noise prediction also follows the critic's gradient.

Beside cloning the data's noise, ε(s, x, k) is pushed along -∇Q at the noised action, which is soft policy iteration
with the behaviour policy as its anchor.

Paper: Fang et al., arXiv 2405.20555. Tuned: alpha. Differs from the paper, as the QAM paper's baseline does
(arXiv 2601.14234): action chunks, ten critics with pessimism ρ, one fixed weight alpha, one action per target.
"""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from agents.base import Agent, Config, integers, normal, option
from agents.diffusion import NoiseNetwork, Schedule, StepEmbedding, denoise
from agents.losses import td_loss
from agents.networks import ensemble_mean, pessimistic


@dataclass(frozen=True)
class DACConfig(Config):
    """DAC's hyperparameters."""

    alpha: float = option(1.0, "weight of behaviour cloning: larger stays closer to the data", low=0)
    diffusion_steps: int = option(10, "steps of the reverse chain, K", low=1, high=1000)
    step_features: int = option(64, "cosines and sines of the step that the noise network sees", low=2, high=10_000)


class DAC(Agent):
    """Critic Q(s, a), noise network ε(s, x, k)."""

    name = "dac"
    Config = DACConfig
    max_gradient_norm = 1.0

    def networks(self):
        embedding = StepEmbedding(self.config.step_features, self.config.hidden, learned=True)
        noise_network = NoiseNetwork(self.config.hidden, self.chunk_dim, embedding)
        return {"critic": (self.critic(), "observation action"), "actor": (noise_network, "observation action time")}

    @property
    def schedule(self) -> Schedule:
        """The noise schedule."""
        return Schedule(self.config.diffusion_steps)

    def draws(self, batch_size):
        B, A, K = batch_size, self.chunk_dim, self.config.diffusion_steps
        return {
            "next_latent": normal(B, A),
            "next_noise": normal(B, A, count=K),
            "step": integers(1, K + 1, B, 1),
            "noise": normal(B, A),
        }

    def loss(self, train, fixed, target, batch, noise):
        critic_loss = self.critic_loss(train, fixed, target, batch, noise)
        cloning_loss, improvement_loss = self.actor_losses(train, target, batch, noise)
        total = critic_loss + self.config.alpha * cloning_loss + improvement_loss
        return total, dict(critic_loss=critic_loss, cloning_loss=cloning_loss, improvement_loss=improvement_loss)

    def critic_loss(self, train, fixed, target, batch, noise):
        """L_TD with a' from the reverse chain at s'."""
        s_next = batch.next_observations
        a_next = self.chain(fixed.actor, s_next, noise["next_latent"], noise["next_noise"])
        y = self.td_target(batch, pessimistic(target.critic(s_next, a_next), self.config.pessimism))
        return td_loss(train.critic(batch.observations, batch.actions), y, batch.valid)

    def actor_losses(self, train, target, batch, noise):
        """L_BC = mean (M[(n - ε)²])^v and L_A = mean (M[...])^v, with M the mean over dimensions.

        The authors use the validity v as an exponent. For v in {0, 1}, y^v is v y + 1 - v, whose gradient is defined
        also where y < 0: an invalid chunk counts 1 in the value and 0 in the gradient.
        """
        s, k, n = batch.observations, noise["step"], noise["noise"]
        x = self.schedule.add_noise(batch.actions, n, k)
        predicted = train.actor(s, x, k)
        q_gradient = jax.grad(lambda x: ensemble_mean(target.critic(s, x)).sum())(x)
        errors = (n - predicted) ** 2, self.improvement(predicted, q_gradient, k)
        return tuple((batch.valid * error.mean(axis=-1) + 1 - batch.valid).mean() for error in errors)

    def improvement(self, predicted, q_gradient, k):
        """√(1 - ᾱ_k) ∇Q ε, elementwise (B, A)."""
        return jnp.sqrt(1 - self.schedule.alpha_bar[k]) * q_gradient * predicted

    def reverse_step(self, x, predicted, k, z):
        """x_{k-1}: the mean of the posterior given the clipped x̂_0, plus noise of the *forward* step's size."""
        return self.schedule.reverse_mean(x, predicted, k) + self.schedule.forward_std[k] * z

    def chain(self, actor, s, latent, noise):
        """An action by K reverse steps from the latent (B, A), with noise (K, B, A)."""
        action, _ = denoise(lambda x, k, z: (self.reverse_step(x, actor(s, x, k), k, z), None), latent, noise)
        return action

    def sample_actions(self, online, target, observations, rng):
        noise = jax.random.normal(rng, (self.config.diffusion_steps + 1, observations.shape[0], self.chunk_dim))
        return self.chain(online.actor, observations, noise[0], noise[1:])
