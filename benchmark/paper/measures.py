"""Measures of the paper's claims (arXiv 2606.17551), on a trained RQL agent and a batch of the data it was trained on.

Every function is pure and returns numbers; which claim each is about stands in its text.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from scipy import stats

from agents import flow
from agents.base import Agent, Batch, State
from agents.flow import Field
from agents.networks import ensemble_mean, pessimistic
from agents.rql import reverse


def forward(field: Field, x: Array, f: Array, steps: int) -> Array:
    """Carry partial actions x (B, A) at f (B, 1) to complete ones at 1 in `steps` Euler steps of equal size."""
    return flow.integrate(lambda x, t: (1 - f) * field(x, f + (1 - f) * t), x, steps)


@partial(jax.jit, static_argnums=3)
def return_error(agent: Agent, state: State, batch: Batch, steps: int, depth: float) -> Array:
    """Claim: reversed trajectories are the policy's own. RMS distance per coordinate, (B,), between the data's actions
    and where `steps` Euler steps carry them back to 1 - depth and `steps` steps forward again.
    """
    actor = agent.bind(state.params).actor

    def field(x, f):
        return actor(batch.observations, x, f)

    x, f = reverse(field, batch.actions, jnp.full((len(batch.actions), 1), depth), steps)
    return jnp.sqrt(jnp.square(forward(field, x, f, steps) - batch.actions).mean(axis=1))


@partial(jax.jit, static_argnums=4)
def target_spread(agent: Agent, state: State, batch: Batch, rng: Array, draws: int) -> tuple[Array, Array]:
    """Claim: targets have hardly any variance. Of the bootstrap value P_ρ[V̄(s', z', 0)]: its standard deviation over
    `draws` noises z' in each state, (B,), and its mean there, (B,).
    """
    value, s = agent.bind(state.targets).value, batch.next_observations
    z = jax.random.normal(rng, (draws, *batch.actions.shape))
    values = jax.lax.map(
        lambda noise: pessimistic(value(s, noise, jnp.zeros_like(noise[:, :1])), agent.config.pessimism), z
    )
    return values.std(axis=0), values.mean(axis=0)


@partial(jax.jit, static_argnums=4)
def values_along(agent: Agent, state: State, batch: Batch, rng: Array, samples: int) -> tuple[Array, Array]:
    """V(s, x^f, f) at f = 0, 1/F, ..., 1 of `samples` trajectories from noise in each state: (F + 1, samples, B), and
    the value of where each ends once clipped to valid actions, V(s, a, 1): (samples, B).
    """
    bound, s, F = agent.bind(state.params), batch.observations, agent.config.flow_steps

    def one(noise):
        def step(x, k):
            f = jnp.full((len(x), 1), k / F)
            return x + bound.actor(s, x, f) / F, ensemble_mean(bound.value(s, x, f))

        x, values = jax.lax.scan(step, noise, jnp.arange(F, dtype=noise.dtype))
        one = jnp.ones_like(x[:, :1])
        complete = ensemble_mean(bound.value(s, x, one))
        return jnp.concatenate([values, complete[None]]), ensemble_mean(bound.value(s, jnp.clip(x, -1, 1), one))

    along, ends = jax.lax.map(one, jax.random.normal(rng, (samples, *batch.actions.shape)))
    return jnp.swapaxes(along, 0, 1), ends


def rank_agreement(along: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Claim: values of partial actions tell where they lead. Spearman's rank correlation, in each state, between the
    values at f and the values of the ends, over the samples: (F + 1, B) from (F + 1, samples, B) and (samples, B).
    """
    ranked, final = stats.rankdata(along, axis=1), stats.rankdata(ends, axis=0)
    ranked = ranked - ranked.mean(axis=1, keepdims=True)
    final = final - final.mean(axis=0, keepdims=True)
    return (ranked * final).sum(axis=1) / np.sqrt((ranked**2).sum(axis=1) * (final**2).sum(axis=0))


def horizon_error(along: np.ndarray, ends: np.ndarray) -> tuple[float, float]:
    """Claim: a longer horizon is harder to learn values over. The flow from noise z to its action a is deterministic
    and has no reward, so V(s, z, 0) is V(s, a, 1) but for what the backups between have lost. Mean and RMS of their
    difference over states and samples, in units of the standard deviation over states of V(s, a, 1), averaged over
    samples; from `values_along`.
    """
    difference = (along[0] - ends) / ends.mean(axis=0).std()
    return float(difference.mean()), float(np.sqrt(np.square(difference).mean()))


def gradient_norm(agent: Agent, state: State, batch: Batch, network: str) -> float:
    """Claim: no backpropagation through time. Norm of the whole loss's gradient in a network's parameters."""
    noise = agent.draw_noise(jax.random.PRNGKey(0), len(batch.actions))

    @jax.jit
    def norm(params: Any) -> Array:
        fixed, target = agent.bind(state.params), agent.bind(state.targets)
        gradient = jax.grad(lambda params: agent.loss(agent.bind(params), fixed, target, batch, noise)[0])(params)
        return jnp.sqrt(sum(jnp.square(leaf).sum() for leaf in jax.tree.leaves(gradient[network])))

    return float(norm(state.params))


def interval(values: Sequence[float] | np.ndarray) -> tuple[float, float, float]:
    """Mean, and the ends of its 95% interval by the t-distribution."""
    ends = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    return float(np.mean(values)), float(ends.low), float(ends.high)
