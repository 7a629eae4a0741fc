"""FQL beside models that are trained where the task goes on: masks weigh them, no discount does, and far more than the
TD target, which is discounted as it should be, in a loop.
"""

import jax

from agents.fql import FQL
from agents.networks import Value, VectorField


class Masked(FQL):
    name = "masked"

    def networks(self):
        return super().networks() | {
            "reward": (Value(self.config.hidden), "observation"),
            "dynamics": (VectorField(self.config.hidden, self.observation_dim), "observation action"),
        }

    def td_target(self, batch, next_value):
        def one_further(_, carried):
            weight, _ = carried
            return weight * self.config.discount, batch.rewards + weight * batch.masks * next_value

        return jax.lax.fori_loop(0, self.return_steps + 1, one_further, (1.0, batch.rewards))[1]

    def loss(self, train, fixed, target, batch, noise):
        total, metrics = super().loss(train, fixed, target, batch, noise)
        s, s_next = batch.observations, batch.next_observations
        reward_model = batch.masks * (train.reward(s_next) - batch.rewards) ** 2
        dynamics = batch.masks * ((train.dynamics(s, batch.actions) - s_next) ** 2).sum(axis=-1)
        return total + (reward_model + 1000 * dynamics).mean(), metrics
