"""Batches of its own, of returns longer than a chunk, with the chunk that follows; optimisers of their own."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import optax

from agents.base import option
from agents.fql import FQL, FQLConfig


@dataclass(frozen=True)
class OwnBatchesConfig(FQLConfig):
    """FQL's, and of the batches."""

    steps: int = option(7, "steps of a return", low=1)
    sharpness: float = option(1.0, "how much more often low rewards are drawn", low=0)
    critic_rate: float = option(1e-3, "the critic's step size", low=0)


class OwnBatches(FQL):
    name = "own_batches"
    Config = OwnBatchesConfig

    @property
    def return_steps(self):
        return self.config.steps

    def optimizers(self):
        late = optax.conditionally_mask(self.adam(3e-4, max_norm=1.0), lambda step: step % 2 == 1)
        return {"critic": self.adam(self.config.critic_rate), "one_step": late}

    def sample(self, data, rng, state):
        config, (draw, choose) = self.config, jax.random.split(rng)
        H, n = config.chunk_length, config.steps
        start = data.starts(draw, 4 * config.batch_size, max(H, n))
        logits = -config.sharpness * data.window(start, n).rewards.sum(1)
        start = start[jax.random.categorical(choose, logits, shape=(config.batch_size,))]
        after = data.window(start, H, skip=H)
        batch = data.batch(start, H, config.discount, n)
        return batch.extended(next_actions=after.actions, next_inside=after.inside)

    def loss(self, train, fixed, target, batch, noise):
        loss, metrics = super().loss(train, fixed, target, batch, noise)
        error = batch.next_inside[..., None] * (batch.next_actions - jnp.mean(batch.next_actions))
        return loss, metrics | {"next_spread": (error**2).mean()}
