"""Boltzmann flow on batches of its own: of several chunks drawn, those that its critic values more come more often.

So the flow clones the better part of the data rather than all of it. Focus 0 is boltzmann_flow. See TUTORIAL.md.
"""

from __future__ import annotations

from dataclasses import dataclass

import jax
from boltzmann_flow import BoltzmannFlow, BoltzmannFlowConfig

from agents.base import option
from agents.networks import pessimistic


@dataclass(frozen=True)
class FocusedFlowConfig(BoltzmannFlowConfig):
    """Boltzmann flow's hyperparameters, and those of the batches."""

    focus: float = option(1.0, "η: a chunk is kept with a probability proportional to exp(η Q)", low=0)
    drawn: int = option(4, "chunks drawn for each that is kept", low=1)


class FocusedFlow(BoltzmannFlow):
    """Boltzmann flow whose batches depend on its critic."""

    name = "focused_flow"
    Config = FocusedFlowConfig

    def sample(self, data, rng, state):
        config = self.config
        start_rng, kept_rng = jax.random.split(rng)
        start = data.starts(start_rng, config.drawn * config.batch_size, config.chunk_length)
        batch = data.batch(start, config.chunk_length, config.discount)
        values = self.bind(state.params).critic(batch.observations, batch.actions)
        logits = config.focus * pessimistic(values, config.pessimism)
        kept = jax.random.categorical(kept_rng, logits, shape=(config.batch_size,))
        return jax.tree.map(lambda rows: rows[kept], batch)
