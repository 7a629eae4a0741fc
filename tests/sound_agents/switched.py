"""BC with a term that is off by default, together with its hyperparameters, and that compares all pairs of samples."""

from dataclasses import dataclass

import jax.numpy as jnp

from agents.base import option
from agents.bc import BC, BCConfig


@dataclass(frozen=True)
class SwitchedConfig(BCConfig):
    repel: bool = option(False, "whether velocities of different samples repel each other")
    strength: float = option(0.1, "how much, where they do", low=0)
    power: int = option(2, "how fast that falls with their distance", low=1)


class Switched(BC):
    name = "switched"
    Config = SwitchedConfig

    def loss(self, train, fixed, target, batch, noise):
        loss, metrics = super().loss(train, fixed, target, batch, noise)
        if not self.config.repel:
            return loss, metrics
        size = train.flow(batch.observations, noise["x0"], noise["t"]).sum(axis=-1)
        distance = size[:, None] - size[None]
        return loss - self.config.strength * jnp.tanh(distance**self.config.power).mean(), metrics
