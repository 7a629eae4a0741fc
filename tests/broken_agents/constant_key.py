"""FQL that draws its noise from a key of its own."""

import jax

from agents.fql import FQL


class ConstantKey(FQL):
    name = "constant_key"

    def loss(self, train, fixed, target, batch, noise):
        latent = jax.random.normal(jax.random.PRNGKey(0), batch.actions.shape)
        return super().loss(train, fixed, target, batch, {**noise, "latent": latent})
