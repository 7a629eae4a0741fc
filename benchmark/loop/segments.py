"""The compiled parts of training: initialisation, segments of updates, acting."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import groupby
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from agents.base import Agent, State
from envs.data.dataset import Dataset
from envs.data.samplers import SAMPLERS

SAMPLING = 0x5A  # folded into an update's key for its batch, so that batch and noise are independent
BLOCK = 50  # updates of a segment where evaluation goes on beside training: a policy waits for at most one segment


# Initialisation runs once and has a random draw for every array: compiled plainly it takes seconds, as it is a tenth.
@partial(
    jax.jit,
    static_argnames="agent_axis",
    compiler_options={"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True},
)
def init_states(agent: Agent, seeds: Array, agent_axis: int | None = None) -> State:
    """Initial states of all seeds, stacked on a leading axis. Seed k's does not depend on the others."""
    return jax.vmap(lambda agent, seed: agent.init(jax.random.PRNGKey(seed)), (agent_axis, 0))(agent, seeds)


@partial(jax.jit, static_argnames=("phase", "agent_axis"))
def begin(agent: Agent, states: State, phase: str, agent_axis: int | None = None) -> State:
    """The states of all seeds with which a phase of their run begins; see `Agent.begin`."""
    states = jax.vmap(lambda agent, state: agent.begin(state, phase), (agent_axis, 0))(agent, states)
    return jax.tree.map(jnp.copy, states)  # what the agent copied may not share memory, which is donated later


@partial(jax.jit, static_argnames=("length", "cycle", "agent_axis"), donate_argnames="states")
def run_segment(
    agent: Agent, states: State, data: Dataset, length: int, cycle: Sequence[str], agent_axis: int | None = None
) -> tuple[State, dict[str, Array]]:
    """Run `length` updates of every seed; return the states and each metric's mean over the segment, (S,).

    `cycle` names the agent's update methods that follow one another (see `Agent.cycle`); `length` is a multiple of
    theirs. With `agent_axis` 0 each seed has hyperparameters of its own.
    """

    def segment(agent, state):
        def one_cycle(state, _):
            metrics: dict[str, Array] = {}
            for name, repeats in groupby(parts_of(agent, cycle)):
                state, new = repeated(partial(call, agent, name, data), state, len(list(repeats)))
                metrics |= new
            return state, metrics

        state, metrics = jax.lax.scan(one_cycle, state, length=length // len(cycle))
        return state, jax.tree.map(lambda values: values.mean(axis=0), metrics)

    with named_precision(agent.config.matmul_precision):
        return over_seeds(segment, agent, states, agent_axis)


def named_precision(name: str):
    """A context in which matrix products are traced at one of the precisions that an agent may have.

    bfloat16 is asked for by JAX's name of the arithmetic: what it calls "bfloat16" is a device's default.
    """
    return jax.default_matmul_precision("BF16_BF16_F32" if name == "bfloat16" else name)


def over_seeds(function: Callable, agent: Agent, states: State, agent_axis: int | None) -> Any:
    """Apply function(agent, state) to every seed, and stack.

    All at once on an accelerator, which one seed does not fill. On a CPU one after the other: one seed's matrix
    products fill it, and batched ones are a quarter slower there.
    """
    if jax.default_backend() != "cpu":
        return jax.vmap(function, (agent_axis, 0))(agent, states)
    if agent_axis is None:
        return jax.lax.map(lambda state: function(agent, state), states)
    return jax.lax.map(lambda pair: function(*pair), (agent, states))


def parts_of(agent: Agent, cycle: Sequence[str]) -> list[str]:
    """The methods to call for a pattern of updates: instead of one that is composed of two, the two."""
    return [part for name in cycle for part in agent.composed.get(name, (name,))]


def call(agent: Agent, name: str, data: Dataset, state: State) -> tuple[State, dict[str, Array]]:
    """Call an update method, or one part of it, on the batch that the update draws."""
    counted = name in {second for _, second in agent.composed.values()}
    return getattr(agent, name)(state, sample(agent, state, data, counted))


def repeated(function: Callable[[State], tuple[State, dict]], state: State, times: int) -> tuple[State, dict]:
    """Call several times on the state, compiled once; return the state and the last metrics."""
    if times == 1:
        return function(state)
    state, metrics = jax.lax.scan(lambda state, _: function(state), state, length=times)
    return state, jax.tree.map(lambda values: values[-1], metrics)


def sample(agent: Agent, state: State, data: Dataset, counted: bool = False):
    """Draw, as the agent was published with, the batch of the next update, or of the one that `state` counted last."""
    rng = jax.random.fold_in(jax.random.fold_in(state.rng, state.step - int(counted)), SAMPLING)
    config = agent.config
    return SAMPLERS[agent.sampler](data, rng, config.batch_size, config.chunk_length, config.discount)


@partial(jax.jit, static_argnames="agent_axis")
def act(agent: Agent, states: State, observations: Array, ids: Array, agent_axis: int | None = None) -> Array:
    """Action chunks (S, P, H, d) for observations (S, P, O); the noise of each is drawn from its ids (S, P, n)."""

    def one(agent, state, observation, identity):
        rng = jax.random.PRNGKey(identity[0])
        for word in identity[1:]:
            rng = jax.random.fold_in(rng, word)
        return agent.act(state, observation[None], rng)[0]

    with named_precision(agent.config.matmul_precision):
        return jax.vmap(jax.vmap(one, (None, None, 0, 0)), (agent_axis, 0, 0, 0))(agent, states, observations, ids)
