"""FQL with two running means, of which an update returns one."""

import jax.numpy as jnp

from agents.fql import FQL


class LosesExtra(FQL):
    name = "loses_extra"

    def init_extra(self):
        return {"mean": jnp.zeros(()), "square": jnp.zeros(())}

    def after_update(self, extra, batch, metrics):
        return {"mean": 0.9 * extra["mean"] + 0.1 * batch.rewards.mean()}, metrics
