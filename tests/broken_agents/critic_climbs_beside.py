"""FQL whose policy loss trains the critic too, sample by sample in one sum with the TD loss."""

import jax.numpy as jnp

from agents.fql import FQL


class CriticClimbsBeside(FQL):
    name = "critic_climbs_beside"

    def critic_loss(self, train, fixed, target, batch, noise):
        s = batch.observations
        a_next = fixed.one_step(batch.next_observations, noise["next_latent"])
        y = self.td_target(batch, target.critic(batch.next_observations, a_next).mean(axis=0))
        td = batch.valid * (train.critic(s, batch.actions) - y) ** 2
        return (td - train.critic(s, jnp.clip(train.one_step(s, noise["latent"]), -1, 1))).mean()
