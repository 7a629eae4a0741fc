"""FQL with absolute TD errors, which have no curvature, that does not discount a chunk's bootstrap value."""

import jax.numpy as jnp

from agents.fql import FQL


class NoDiscountOfAbsoluteErrors(FQL):
    name = "no_discount_of_absolute_errors"

    def critic_loss(self, train, fixed, target, batch, noise):
        a_next = fixed.one_step(batch.next_observations, noise["next_latent"])
        y = batch.rewards + batch.masks * target.critic(batch.next_observations, a_next).mean(axis=0)
        return jnp.abs(batch.valid * (train.critic(batch.observations, batch.actions) - y)).mean()
