"""FQL that knows some rows of its data, the same in each seed."""

import jax

from agents.fql import FQL


class ConstantPool(FQL):
    name = "constant_pool"

    def facts(self, data, rng):
        return {"pool": data.actions[jax.random.randint(jax.random.PRNGKey(0), (8,), 0, data.size)]}
