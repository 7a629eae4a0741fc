"""ReBRAC: a deterministic policy that maximises a normalised Q beside behaviour cloning (TD3+BC, revisited).

Paper: Tarasov et al., "Revisiting the Minimalist Approach to Offline RL", arXiv 2305.09836. Tuned: alpha, actor_noise.
Differs from the paper, as the QAM paper's baseline does (arXiv 2601.14234): action chunks, ten critics with pessimism
ρ instead of two, no cloning penalty in the critic's target; the delay applies to the targets alone (the actor is
trained at every update), and the noise stays on at evaluation. Where Q is 0 everywhere, as with a hidden layer of one
unit before the critics have learned, λ is 1; in the authors' code it is infinite and all parameters become NaN.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import flax.linen as nn
import jax
import jax.numpy as jnp

from agents.base import Agent, Config, normal, option
from agents.losses import magnitude, td_loss
from agents.networks import MLP, glorot, pessimistic


@dataclass(frozen=True)
class ReBRACConfig(Config):
    """ReBRAC's hyperparameters."""

    alpha: float = option(0.0, "weight of behaviour cloning: larger stays closer to the data", low=0, off=True)
    actor_noise: float = option(0.2, "standard deviation of the noise added to the policy's actions", low=0)
    noise_clip: float = option(0.5, "largest absolute value of that noise", low=0)
    target_period: int = option(2, "updates of the networks per update of the targets", low=1)


class DeterministicPolicy(nn.Module):
    """π(s) = tanh(head(trunk(s))), with a head that starts small: (B, O) to (B, A)."""

    hidden: Sequence[int]
    action_dim: int

    @nn.compact
    def __call__(self, observations: jax.Array) -> jax.Array:
        """Map observations (B, O) to actions (B, action_dim) in (-1, 1)."""
        x = MLP(self.hidden, activate_final=True, name="trunk")(observations)
        return jnp.tanh(nn.Dense(self.action_dim, kernel_init=glorot(0.01), name="head")(x))


class ReBRAC(Agent):
    """Critic Q(s, a), deterministic policy π(s)."""

    name = "rebrac"
    Config = ReBRACConfig
    targets = ("critic", "actor")

    def networks(self):
        return {
            "critic": (self.critic(), "observation action"),
            "actor": (DeterministicPolicy(self.config.hidden, self.chunk_dim), "observation"),
        }

    def target_rates(self, step):
        """Every `target_period`-th update moves the targets; a rate of 0 leaves them where they are."""
        rate = jnp.where(step % self.config.target_period == 0, self.config.target_rate, 0)
        return {"critic": rate, "actor": rate}

    def draws(self, batch_size):
        return {"next_noise": normal(batch_size, self.chunk_dim)}

    def loss(self, train, fixed, target, batch, noise):
        critic_loss = self.critic_loss(train, target, batch, noise)
        q_loss, cloning_loss = self.actor_losses(train, fixed, batch)
        total = critic_loss + q_loss + self.config.alpha * cloning_loss
        return total, dict(critic_loss=critic_loss, q_loss=q_loss, cloning_loss=cloning_loss)

    def critic_loss(self, train, target, batch, noise):
        """L_TD with a' the noisy action of the target policy."""
        s_next = batch.next_observations
        a_next = self.perturb(target.actor(s_next), noise["next_noise"])
        y = self.td_target(batch, pessimistic(target.critic(s_next, a_next), self.config.pessimism))
        return td_loss(train.critic(batch.observations, batch.actions), y, batch.valid)

    def actor_losses(self, train, fixed, batch):
        """-mean λ P_ρ[Q(s, π(s))] with λ = sg[1 / mean |P_ρ[Q]|], and mean v |π(s) - a|², summed over dimensions."""
        action = train.actor(batch.observations)
        q = pessimistic(fixed.critic(batch.observations, action), self.config.pessimism)
        scale = 1 / magnitude(q)
        cloning = batch.valid * ((action - batch.actions) ** 2).sum(axis=-1)
        return -(scale * q).mean(), cloning.mean()

    def perturb(self, action, noise):
        """clip(π + clip(σ n, -c, c), -1, 1)."""
        bound = self.config.noise_clip
        return jnp.clip(action + jnp.clip(self.config.actor_noise * noise, -bound, bound), -1, 1)

    def sample_actions(self, online, target, observations, rng):
        action = online.actor(observations)
        return self.perturb(action, jax.random.normal(rng, action.shape))
