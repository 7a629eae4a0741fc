"""FQL whose masks choose the bootstrap value of a chunk, discounted as if it were one step away."""

import jax.numpy as jnp

from agents.fql import FQL


class OneStepDiscountChosen(FQL):
    name = "one_step_discount_chosen"

    def td_target(self, batch, next_value):
        return batch.rewards + jnp.where(batch.masks > 0.5, self.config.discount * next_value, 0)
