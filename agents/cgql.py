"""CGQL, CGQL-M and CGQL-L: a behaviour-cloning flow steered at sampling time by the critic's action gradient.

The flow is never trained on values. CGQL asks a critic of clean actions for its gradient at noisy ones; CGQL-M and
CGQL-L also train it at noisy actions, by the squared error and by the linex (Itakura-Saito) loss, and ask it there.

Paper: baselines of Li, Levine, "Q-learning with Adjoint Matching", arXiv 2601.14234; classifier guidance: Dhariwal,
Nichol, arXiv 2105.05233; linex as in TMD (Myers et al. 2025). Tuned: guidance_coef, noisy_coef; inv_temp is 10.
Differs from the paper: nothing known; the authors' code was followed. It converts Q's gradient to a velocity as if it
were a full score, so guidance adds c x / t also where the gradient is zero.
"""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from agents import flow
from agents.base import Agent, Config, normal, option, uniform
from agents.losses import td_loss
from agents.networks import ensemble_mean, pessimistic


@dataclass(frozen=True)
class CGQLConfig(Config):
    """CGQL's hyperparameters."""

    guidance_coef: float = option(0.1, "c: strength of the guidance; 0 is behaviour cloning", low=0)
    inv_temp: float = option(10.0, "β: weight of Q's gradient within the guidance; 0 switches guidance off", low=0)
    flow_steps: int = option(10, "Euler steps of the flow, F", low=1, high=1000)


class CGQL(Agent):
    """Critic Q(s, x, t) of partially denoised actions, where t = 1 is a clean one; flow u(s, x, t)."""

    name = "cgql"
    Config = CGQLConfig
    targets = ("critic", "flow")

    def networks(self):
        return {
            "critic": (self.critic(), "observation action time"),
            "flow": (self.vector_field(), "observation action time"),
        }

    def draws(self, batch_size):
        B, A = batch_size, self.chunk_dim
        return {"next_latent": normal(B, A), "x0": normal(B, A), "t": uniform(B, 1)}

    def loss(self, train, fixed, target, batch, noise):
        critic_loss = self.critic_loss(train, fixed, target, batch, noise)
        flow_loss = self.flow_loss(train, batch, noise)
        return critic_loss + flow_loss, dict(critic_loss=critic_loss, flow_loss=flow_loss)

    def critic_loss(self, train, fixed, target, batch, noise):
        """L_TD at t = 1, with the guided action at s'."""
        one = jnp.ones_like(noise["t"])
        s_next = batch.next_observations
        a_next = self.guided_actions(fixed.critic, target.flow, s_next, noise["next_latent"])
        y = self.td_target(batch, pessimistic(target.critic(s_next, a_next, one), self.config.pessimism))
        return td_loss(train.critic(batch.observations, batch.actions, one), y, batch.valid)

    def flow_loss(self, train, batch, noise):
        """L_FM: behaviour cloning."""
        return flow.cloning_loss(train.flow, batch, noise)

    def guidance_time(self, t):
        """The time at which the critic is asked for its gradient on the way: as if x were a clean action."""
        return jnp.ones_like(t)

    def guided_actions(self, critic, behaviour, s, z):
        """Ψ(s, z): the flow from noise z, with velocity u + (β (1 - t) ∇_x Q(s, x, t_g) + x) c / t from step 1 on."""
        steps, beta = self.config.flow_steps, self.config.inv_temp
        strength = jnp.where(beta > 0, self.config.guidance_coef, 0)

        def velocity(x, t):
            slope = jax.grad(lambda x: ensemble_mean(critic(s, x, self.guidance_time(t))).sum())(x)
            return behaviour(s, x, t) + (beta * (1 - t) * slope + x) * strength / t

        x = z + behaviour(s, z, jnp.zeros_like(z[:, :1])) / steps
        return flow.euler(velocity, x, steps, start=1)

    def sample_actions(self, online, target, observations, rng):
        z = jax.random.normal(rng, (observations.shape[0], self.chunk_dim))
        return self.guided_actions(online.critic, target.flow, observations, z)


@dataclass(frozen=True)
class CGQLMConfig(CGQLConfig):
    """CGQL-M's hyperparameters."""

    noisy_coef: float = option(0.001, "weight of the critic's loss at noisy actions", low=0)


class CGQLM(CGQL):
    """CGQL whose critic also learns Q(s, x_t, t) ≈ Q̄(s, a, 1) by the squared error, and guides with it at time t."""

    name = "cgql_m"
    Config = CGQLMConfig

    def draws(self, batch_size):
        B, A = batch_size, self.chunk_dim
        return {
            "next_latent": normal(B, A),
            "critic_t": uniform(B, 1),
            "critic_x0": normal(B, A),
            "x0": normal(B, A),
            "t": uniform(B, 1),
        }

    def loss(self, train, fixed, target, batch, noise):
        total, metrics = super().loss(train, fixed, target, batch, noise)
        noisy_loss = self.noisy_loss(train, target, batch, noise)
        return total + self.config.noisy_coef * noisy_loss, {**metrics, "noisy_critic_loss": noisy_loss}

    def noisy_loss(self, train, target, batch, noise):
        """L_N: members regress from noisy actions, each onto its own target's value of the clean action."""
        s, a, t = batch.observations, batch.actions, noise["critic_t"]
        clean = target.critic(s, a, jnp.ones_like(t))
        noisy = train.critic(s, flow.interpolate(noise["critic_x0"], a, t), t)
        return (batch.valid * self.noisy_error(noisy, clean)).mean()

    def noisy_error(self, prediction, target):
        """Elementwise loss of the values at noisy actions, (E, B)."""
        return (prediction - target) ** 2

    def guidance_time(self, t):
        """The critic knows noisy actions, so it is asked at the time that x has."""
        return t


@dataclass(frozen=True)
class CGQLLConfig(CGQLMConfig):
    """CGQL-L's hyperparameters."""

    isd_clip: float = option(5.0, "exponent above which the linex loss goes on linearly")


class CGQLL(CGQLM):
    """CGQL-M with the linex loss, whose minimiser is the soft maximum log E[exp(β Q)] / β over clean actions."""

    name = "cgql_l"
    Config = CGQLLConfig

    def noisy_error(self, prediction, target):
        return linex(prediction, target, self.config.inv_temp, self.config.isd_clip)


def linex(prediction, target, inv_temp, clip):
    """exp(Δ) + β N for Δ = β (T - N) up to the clip, Δ above it (lower, as the authors have it): elementwise."""
    delta = inv_temp * (target - prediction)
    above = delta > clip
    # exp sees 0 where it is not used: an overflow there would make the gradient NaN
    return jnp.where(above, delta, jnp.exp(jnp.where(above, 0, delta)) + inv_temp * prediction)
