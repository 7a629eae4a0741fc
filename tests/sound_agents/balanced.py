"""FQL whose weight of the data is a multiplier that a hook moves, which phases set, and which acting reads too."""

from dataclasses import dataclass

import jax.numpy as jnp

from agents.base import option
from agents.fql import FQL, FQLConfig


@dataclass(frozen=True)
class BalancedConfig(FQLConfig):
    allowed: float = option(0.1, "squared distance to the data's actions that is aimed at", low=0)
    rate: float = option(0.01, "step size of the multiplier's logarithm", low=0)
    online_alpha: float = option(3.0, "the multiplier where the online phase begins", low=0)
    shrink: float = option(1.0, "what actions are multiplied by", low=0, high=1)


class Balanced(FQL):
    name = "balanced"
    Config = BalancedConfig
    acting_options = ("shrink",)

    def init_extra(self):
        return {"multiplier": self.config.alpha * jnp.ones(()), "mean": jnp.zeros(self.observation_dim)}

    def after_update(self, extra, batch, metrics):
        excess = metrics["distillation_loss"] - self.config.allowed
        mean = 0.99 * extra["mean"] + 0.01 * batch.observations.mean(axis=0)
        return {"multiplier": extra["multiplier"] * jnp.exp(self.config.rate * excess), "mean": mean}, metrics

    def begin(self, state, phase):
        if phase != "online":
            return state
        return state.replace(extra=state.extra | {"multiplier": self.config.online_alpha * jnp.ones(())})

    def loss(self, train, fixed, target, batch, noise):
        batch = batch._replace(observations=batch.observations - fixed.mean)
        total, metrics = super().loss(train, fixed, target, batch, noise)
        return total + (fixed.multiplier - self.config.alpha) * metrics["distillation_loss"], metrics

    def sample_actions(self, online, target, observations, rng):
        return self.config.shrink * super().sample_actions(online, target, observations - online.mean, rng)
