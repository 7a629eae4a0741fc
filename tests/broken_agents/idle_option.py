"""FQL with a temperature that is logged, and used in a term without gradient, but changes nothing."""

from dataclasses import dataclass

import jax

from agents.base import option
from agents.fql import FQL, FQLConfig


@dataclass(frozen=True)
class IdleOptionConfig(FQLConfig):
    temperature: float = option(1.0, "softness", low=0)


class IdleOption(FQL):
    name = "idle_option"
    Config = IdleOptionConfig

    def loss(self, train, fixed, target, batch, noise):
        loss, metrics = super().loss(train, fixed, target, batch, noise)
        entropy = jax.lax.stop_gradient(fixed.one_step(batch.observations, noise["latent"])).std()
        term = self.config.temperature * entropy
        return loss + term, {**metrics, "entropy_term": term}
