"""FQL whose target critic is a new copy at every thousandth update, and whose policy learns at every twentieth."""

import jax.numpy as jnp
import optax

from agents.fql import FQL


class Seldom(FQL):
    name = "seldom"

    def target_rates(self, step):
        return {"critic": jnp.where(step % 1000 == 0, 1.0, 0.0)}

    def optimizers(self):
        return {"one_step": optax.conditionally_mask(self.adam(3e-4), lambda step: step % 20 == 19)}
