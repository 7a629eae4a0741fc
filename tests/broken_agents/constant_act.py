"""FQL that acts by the same noise in every state of every episode."""

import jax

from agents.fql import FQL


class ConstantAct(FQL):
    name = "constant_act"

    def sample_actions(self, online, target, observations, rng):
        return super().sample_actions(online, target, observations, jax.random.PRNGKey(7))
