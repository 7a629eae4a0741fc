"""BC with a running mean that has a network's name."""

import jax.numpy as jnp

from agents.bc import BC


class ExtraAndNetwork(BC):
    name = "extra_and_network"

    def init_extra(self):
        return {"flow": jnp.zeros(())}
