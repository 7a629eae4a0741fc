"""FQL whose TD error is written from left to right, beside a masked model of rewards at s' that is squared by hand."""

import jax.numpy as jnp

from agents.fql import FQL
from agents.networks import Value


class Errors(FQL):
    name = "errors"

    def networks(self):
        return super().networks() | {"reward": (Value(self.config.hidden), "observation")}

    def critic_loss(self, train, fixed, target, batch, noise):
        s_next, discount = batch.next_observations, self.config.discount**self.config.chunk_length
        a_next = fixed.one_step(s_next, noise["next_latent"])
        next_value = target.critic(s_next, a_next).min(axis=0)
        error = train.critic(batch.observations, batch.actions) - batch.rewards - discount * batch.masks * next_value
        missed = batch.masks * (train.reward(s_next) - batch.rewards)
        return (batch.valid * jnp.where(error > 0, 0.3, 0.7) * error**2 + missed * missed).mean()
