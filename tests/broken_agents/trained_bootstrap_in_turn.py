"""Diffusion-QL whose TD target comes from the critic that is trained, and gets gradient."""

import jax.numpy as jnp

from agents.diffusion_ql import DiffusionQL
from agents.losses import td_loss


class TrainedBootstrapInTurn(DiffusionQL):
    name = "trained_bootstrap_in_turn"

    def critic_loss(self, train, fixed, target, batch, noise):
        s_next = jnp.broadcast_to(batch.next_observations, (1, *batch.next_observations.shape))
        a_next = self.chain(target.actor, s_next, noise["next_latent"], noise["next_noise"])
        y = batch.rewards + self.config.discount**5 * batch.masks * train.critic(s_next, a_next).min(axis=(0, 1))
        return td_loss(train.critic(batch.observations, batch.actions), y, batch.valid), {}
