"""RQL, Reversal Q-Learning: each refinement step of the flow is an action, values are learned on partial actions.

The flow is run *backwards* from the data's actions, which gives deterministic on-policy trajectories of partial
actions x^f; a value V(s, x^f, f) of complete (f = 1) and partial (f < 1) actions is regressed straight onto the
environment's return, and each flow step is trained by the value's gradient beside behaviour cloning. No
backpropagation through time, no distillation, no longer TD horizon.

Paper: Oberai, Park, Levine, "Reversal Q-Learning", arXiv 2606.17551. Tuned: alpha, expectile.
Where text and code may differ, this is the authors' code. One transcription of the paper takes the improvement term at
points that the flow was reversed to, (x^f, f), as the value is trained at; their code, and so this, takes it at the
interpolated points (x_t, t) of the cloning term, with the velocity predicted there, and reversed points train the value
alone. Otherwise nothing is known to differ.
"""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from agents import flow
from agents.base import Agent, Config, integers, normal, option, uniform
from agents.losses import expectile_loss
from agents.networks import ensemble_mean, pessimistic


@dataclass(frozen=True)
class RQLConfig(Config):
    """RQL's hyperparameters."""

    alpha: float = option(1.0, "weight of behaviour cloning: larger stays closer to the data", low=0)
    expectile: float = option(0.5, "κ of the value regression: larger is more optimistic", low=0, high=1)
    ema_rate: float = option(0.001, "rate of the averaged flow that acts at evaluation", low=0, high=1)
    flow_steps: int = option(10, "Euler steps of the flow, F", low=1, high=1000)


def reverse(field: flow.Field, x, depth, steps: int):
    """Flow reversal: carry complete actions x (B, A) at f = 1 back to f = 1 - depth, with depth (B, 1) in [0, 1].

    Always `steps` micro-steps of size depth / steps, the velocity taken at the current (x, f). Returns (x^f, f).
    f is accumulated, as the authors do, so it may end a rounding error away from 1 - depth.
    """

    def step(carry, _):
        x, f = carry
        return (x - depth / steps * field(x, f), f - depth / steps), None

    (x, f), _ = jax.lax.scan(step, (x, jnp.ones_like(depth)), length=steps)
    return x, f


class RQL(Agent):
    """Value V(s, x, f), so that V(s, a, 1) is Q(s, a) and V(s, z, 0) the value of a state; flow u(s, x, f)."""

    name = "rql"
    Config = RQLConfig
    sampler = "trajectories"
    targets = ("value", "actor")

    def networks(self):
        return {
            "value": (self.critic(), "observation action time"),
            "actor": (self.vector_field(), "observation action time"),
        }

    def target_rates(self, step):
        return {"value": self.config.target_rate, "actor": self.config.ema_rate}

    def draws(self, batch_size):
        B, A, F = batch_size, self.chunk_dim, self.config.flow_steps
        return {
            "next_latent": normal(B, A),
            "depth": uniform(B // 2),
            "grid_depth": integers(0, F + 1, B - B // 2),
            "x0": normal(B, A),
            "t": uniform(B, 1),
        }

    def loss(self, train, fixed, target, batch, noise):
        value_loss = self.value_loss(train, fixed, target, batch, noise)
        cloning_loss, improvement_loss = self.actor_losses(train, fixed, batch, noise)
        total = improvement_loss + self.config.alpha * cloning_loss + value_loss
        return total, dict(value_loss=value_loss, cloning_loss=cloning_loss, improvement_loss=improvement_loss)

    def value_loss(self, train, fixed, target, batch, noise):
        """L_V: expectile regression of V(s, x^f, f) onto y = G + γ^H m P_ρ[V̄(s', z', 0)]."""
        y = self.next_value_target(target, batch, noise)
        x, f = self.reversed_actions(fixed, batch, self.depths(noise))
        values = train.value(batch.observations, x, f)
        return (batch.valid * expectile_loss(y - values, self.config.expectile)).mean()

    def next_value_target(self, target, batch, noise):
        """y = G + γ^H m P_ρ[V̄(s', z', 0)]: fresh noise has the value of the state, no flow step is needed."""
        z = noise["next_latent"]
        next_values = target.value(batch.next_observations, z, jnp.zeros_like(z[:, :1]))
        return self.td_target(batch, pessimistic(next_values, self.config.pessimism))

    def depths(self, noise):
        """How far to reverse, (B, 1): half the batch continuous, half on the grid {0, 1/F, ..., 1}."""
        return jnp.concatenate([noise["depth"], noise["grid_depth"] / self.config.flow_steps])[:, None]

    def reversed_actions(self, fixed, batch, depth):
        """(x^f, f) of the batch's actions, for depth (B, 1)."""
        s = batch.observations
        return reverse(lambda x, f: fixed.actor(s, x, f), batch.actions, depth, self.config.flow_steps)

    def actor_losses(self, train, fixed, batch, noise):
        """L_BC = mean w (p - (a - x_0))², and L_π = -mean V(s, x⁺, f⁺) after one Euler step with the velocity p."""
        s, t, step = batch.observations, noise["t"], 1 / self.config.flow_steps
        x = flow.interpolate(noise["x0"], batch.actions, t)
        velocity = train.actor(s, x, t)
        cloning = batch.action_weights * flow.matching_error(velocity, noise["x0"], batch.actions)
        x_next = x + velocity * jnp.minimum(step, 1 - t)
        value = ensemble_mean(fixed.value(s, x_next, jnp.minimum(t + step, 1)))
        return cloning.mean(), -(batch.valid * value).mean()

    def sample_actions(self, online, target, observations, rng):
        z = jax.random.normal(rng, (observations.shape[0], self.chunk_dim))
        return flow.actions(target.actor, observations, z, self.config.flow_steps)
