"""BC with a temperature that is logged, and used in a term without gradient, but changes nothing."""

from dataclasses import dataclass

from agents.base import option
from agents.bc import BC, BCConfig


@dataclass(frozen=True)
class IdleOptionConfig(BCConfig):
    temperature: float = option(1.0, "softness", low=0)


class IdleOption(BC):
    name = "idle_option"
    Config = IdleOptionConfig

    def loss(self, train, fixed, target, batch, noise):
        loss, metrics = super().loss(train, fixed, target, batch, noise)
        spread = fixed.flow(batch.observations, noise["x0"], noise["t"]).std()
        term = self.config.temperature * spread
        return loss + term, {**metrics, "spread_term": term}
