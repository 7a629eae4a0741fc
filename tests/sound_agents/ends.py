"""FQL whose target chooses the rewards alone where an episode has ended."""

import jax.numpy as jnp

from agents.fql import FQL


class Ends(FQL):
    name = "ends"

    def td_target(self, batch, next_value):
        onward = batch.rewards + self.config.discount**self.config.chunk_length * next_value
        return jnp.where(batch.masks > 0, onward, batch.rewards)
