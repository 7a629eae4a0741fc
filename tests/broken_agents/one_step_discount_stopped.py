"""FQL with absolute TD errors, whose constant target is discounted as if a chunk were one step."""

import jax
import jax.numpy as jnp

from agents.fql import FQL


class OneStepDiscountStopped(FQL):
    name = "one_step_discount_stopped"

    def critic_loss(self, train, fixed, target, batch, noise):
        a_next = fixed.one_step(batch.next_observations, noise["next_latent"])
        next_value = target.critic(batch.next_observations, a_next).mean(axis=0)
        y = jax.lax.stop_gradient(batch.rewards + self.config.discount * (batch.masks > 0.5) * next_value)
        return jnp.abs(batch.valid * (train.critic(batch.observations, batch.actions) - y)).mean()
