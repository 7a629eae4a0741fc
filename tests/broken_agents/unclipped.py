"""FQL whose actions are not clipped."""

import jax

from agents.fql import FQL


class Unclipped(FQL):
    name = "unclipped"

    def sample_actions(self, online, target, observations, rng):
        z = jax.random.normal(rng, (observations.shape[0], self.chunk_dim))
        return online.one_step(observations, z)
