"""TFQL: RQL without its horizon reduction, so that the difference between the two is what reversal is worth.

Each refinement step of the flow is an action, as in RQL, but values are backed up one step at a time: from level k/F
to (k + 1)/F, and only a complete action's value is regressed onto the environment's return. A chunk then costs F + 1
backups instead of one. Levels are read off the flow run backwards from the data's action, as in RQL.

Paper: the ablation of that name in Oberai, Park, Levine, arXiv 2606.17551. Tuned: nothing, RQL's values are kept.
Differs from the paper: **derived**, since neither the authors' code nor formulas of it were available. Where a
reasonable person could decide otherwise there is an option (P1 to P6), whose default stays as close to RQL as it can:

    P1  inner_pessimism = 0            pessimism once per chunk, as RQL; where equal to `pessimism`: at every backup
    P2  levels = "one"                 one uniform level per sample, as costly as RQL; "all": each of the F + 1 levels
    P3  policy_times = "continuous"    policy loss at t ~ U[0, 1), as RQL; "grid": only where values are trained
    P4  inner_validity = True          invalid chunks train no level; False: only the complete action's is left out
    P5  inner_expectile = True         κ at every level; False: 1/2 at refinement steps, which are deterministic
    P6  levels = "mixed"               instead of the grid alone: half the batch at continuous f, as RQL
"""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from agents import flow
from agents.base import integers, normal, option, uniform
from agents.losses import expectile_loss
from agents.networks import pessimistic
from agents.rql import RQL, RQLConfig


@dataclass(frozen=True)
class TFQLConfig(RQLConfig):
    """TFQL's hyperparameters: RQL's and the decision points."""

    inner_pessimism: float = option(0.0, "ρ of the backups within a chunk", low=0)
    levels: str = option("one", "where values are trained", choices=("one", "all", "mixed"))
    policy_times: str = option("continuous", "times of the actor's losses", choices=("continuous", "grid"))
    inner_validity: bool = option(True, "leave invalid chunks out of the backups within a chunk too")
    inner_expectile: bool = option(True, "use κ for the backups within a chunk too, instead of the mean")


def reversed_levels(field: flow.Field, x, steps: int):
    """X^0 ... X^F, (F + 1, B, A): the flow run backwards from X^F = x in steps of 1/F, X^{k-1} = X^k - u(X^k, k/F) / F.

    Not clipped. This is RQL's reversal of depth 1 with its intermediate points kept.
    """

    def step(x, k):
        return x - field(x, jnp.full_like(x[:, :1], k / steps)) / steps, x

    first, later = jax.lax.scan(step, x, jnp.arange(1, steps + 1, dtype=x.dtype), reverse=True)
    return jnp.concatenate([first[None], later])


class TFQL(RQL):
    """RQL's value V(s, x, f), flow u(s, x, f) and actor losses, with temporal differences between levels."""

    name = "tfql"
    Config = TFQLConfig

    def draws(self, batch_size):
        if self.config.levels == "mixed":
            return super().draws(batch_size)
        B, A, F = batch_size, self.chunk_dim, self.config.flow_steps
        level = {"level": integers(0, F + 1, B)} if self.config.levels == "one" else {}
        return {"next_latent": normal(B, A), **level, "x0": normal(B, A), "t": uniform(B, 1)}

    def value_loss(self, train, fixed, target, batch, noise):
        """L_V: y = G + γ^H m P_ρ[V̄(s', z', 0)] for complete actions, P_{ρ_in}[V̄(s, x⁺, f⁺)] for partial ones."""
        (x, f), (x_next, f_next) = self.transitions(fixed, batch, noise)
        s = jnp.broadcast_to(batch.observations, (*x.shape[:-1], self.observation_dim))
        complete = f[..., 0] == 1

        inner = pessimistic(target.value(s, x_next, f_next), self.config.inner_pessimism)
        y = jnp.where(complete, self.next_value_target(target, batch, noise), inner)
        expectile = jnp.where(complete | self.config.inner_expectile, self.config.expectile, 0.5)
        valid = jnp.where(complete | self.config.inner_validity, batch.valid, 1)
        return (valid * expectile_loss(y - train.value(s, x, f), expectile)).mean()

    def transitions(self, fixed, batch, noise):
        """((x, f), (x⁺, f⁺)): partial actions (..., B, A), their times (..., B, 1), and those one step later.

        A complete action (f = 1) is followed by itself. The leading axis holds the levels where all are used.
        """
        F = self.config.flow_steps
        if self.config.levels == "mixed":
            depth = self.depths(noise)
            later = jnp.maximum(depth - 1 / F, 0)
            return self.reversed_actions(fixed, batch, depth), self.reversed_actions(fixed, batch, later)

        x = reversed_levels(lambda x, f: fixed.actor(batch.observations, x, f), batch.actions, F)
        f = jnp.asarray(np.arange(F + 1) / F, x.dtype)[:, None]
        level = noise["level"] if self.config.levels == "one" else jnp.arange(F + 1)[:, None]
        level, sample = jnp.broadcast_arrays(level, jnp.arange(x.shape[1]))
        later = jnp.minimum(level + 1, F)
        return (x[level, sample], f[level]), (x[later, sample], f[later])

    def actor_losses(self, train, fixed, batch, noise):
        """RQL's. On the grid, t is rounded down to a multiple of 1/F, for cloning too (they share the velocity)."""
        if self.config.policy_times == "grid":
            F = self.config.flow_steps
            noise = {**noise, "t": jnp.floor(noise["t"] * F) / F}
        return super().actor_losses(train, fixed, batch, noise)
