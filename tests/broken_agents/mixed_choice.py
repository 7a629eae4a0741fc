"""FQL that chooses by masks (B,) between next values (B, 1) and 0."""

import jax.numpy as jnp

from agents.fql import FQL


class MixedChoice(FQL):
    name = "mixed_choice"

    def td_target(self, batch, next_value):
        kept = jnp.where(batch.masks > 0, next_value[:, None], 0.0)
        return batch.rewards + self.config.discount**self.config.chunk_length * kept.mean(axis=1)
