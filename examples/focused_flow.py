"""Boltzmann flow on batches of its own: of several chunks drawn, those that its critic values more come more often.

So the flow clones the better part of the data rather than all of it. How sharply it chooses is a multiplier η that is
no hyperparameter: it is held where a given share of the chunks drawn carries the weight; with 1 that is boltzmann_flow.
See TUTORIAL.md.
"""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from boltzmann_flow import BoltzmannFlow, BoltzmannFlowConfig

from agents.base import option
from agents.networks import pessimistic


@dataclass(frozen=True)
class FocusedFlowConfig(BoltzmannFlowConfig):
    """Boltzmann flow's hyperparameters, and those of the batches."""

    share: float = option(0.5, "effective share of the chunks drawn, 1 / (n Σ p²), that η is to give", low=0.01, high=1)
    focus_rate: float = option(0.01, "step size of log η", low=0)
    drawn: int = option(4, "chunks drawn for each that is kept", low=1)


class FocusedFlow(BoltzmannFlow):
    """Boltzmann flow whose batches depend on its critic."""

    name = "focused_flow"
    Config = FocusedFlowConfig

    def init_extra(self):
        return {"focus": jnp.ones(())}

    def sample(self, data, rng, state):
        """Chunks kept with probabilities p proportional to exp(η P_ρ[Q])."""
        config = self.config
        start_rng, kept_rng = jax.random.split(rng)
        start = data.starts(start_rng, config.drawn * config.batch_size, config.chunk_length)
        batch = data.batch(start, config.chunk_length, config.discount)
        values = self.bind(state.params).critic(batch.observations, batch.actions)
        logits = state.extra["focus"] * pessimistic(values, config.pessimism)
        kept = jax.random.categorical(kept_rng, logits, shape=(config.batch_size,))
        share = 1 / (len(start) * jnp.square(jax.nn.softmax(logits)).sum())
        batch = jax.tree.map(lambda rows: rows[kept], batch)
        return batch.extended(share=jnp.full(config.batch_size, share))

    def loss(self, train, fixed, target, batch, noise):
        total, metrics = super().loss(train, fixed, target, batch, noise)
        return total, metrics | {"share": batch.share.mean()}

    def after_update(self, extra, batch, metrics):
        """log η rises while more than the given share carries the weight, and falls while less does."""
        step = self.config.focus_rate * (metrics["share"] - self.config.share)
        focus = jnp.clip(extra["focus"] * jnp.exp(step), 1e-3, 1e3)
        return extra | {"focus": focus}, metrics | {"focus": focus}
