"""FQL that asks numpy for noise while it acts."""

import jax
import numpy as np

from agents.fql import FQL


class OutsideRandom(FQL):
    name = "outside_random"

    def sample_actions(self, online, target, observations, rng):
        shape = jax.ShapeDtypeStruct((observations.shape[0], self.chunk_dim), "float32")

        def draw(_):
            return np.random.uniform(-1, 1, shape.shape).astype("float32")

        return jax.pure_callback(draw, shape, observations, vmap_method="sequential")
