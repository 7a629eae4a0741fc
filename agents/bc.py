"""BC: flow behaviour cloning alone, the floor that every table can show. Not one of the compared algorithms.

Flow matching: Lipman et al., arXiv 2210.02747. Tuned: nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import jax

from agents import flow
from agents.base import Agent, Config, normal, option, uniform


@dataclass(frozen=True)
class BCConfig(Config):
    """Behaviour cloning's hyperparameters; those of critics are unused."""

    flow_steps: int = option(10, "Euler steps of the flow, F", low=1, high=1000)


class BC(Agent):
    """Flow u(s, x, t)."""

    name = "bc"
    Config = BCConfig
    targets = ()

    def networks(self):
        return {"flow": (self.vector_field(), "observation action time")}

    def draws(self, batch_size):
        return {"x0": normal(batch_size, self.chunk_dim), "t": uniform(batch_size, 1)}

    def loss(self, train, fixed, target, batch, noise):
        loss = flow.cloning_loss(train.flow, batch, noise)
        return loss, dict(flow_loss=loss)

    def sample_actions(self, online, target, observations, rng):
        z = jax.random.normal(rng, (observations.shape[0], self.chunk_dim))
        return flow.actions(online.flow, observations, z, self.config.flow_steps)
