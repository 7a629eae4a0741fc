"""The compiled parts of training: initialisation, segments of updates, acting."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import groupby
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from agents.base import Agent, Batch, State
from agents.transitions import Transitions
from envs.data.dataset import Dataset

SAMPLING = 0x5A  # folded into an update's key for its batch, so that batch and noise are independent
BLOCK = 50  # updates of a segment where evaluation goes on beside training: a policy waits for at most one segment


# Initialisation runs once and has a random draw for every array: compiled plainly it takes seconds, as it is a tenth.
@partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True})
def init_states(agent: Agent, seeds: Array, data: Dataset | None = None) -> State:
    """Initial states of all seeds, stacked on a leading axis. Seed k's does not depend on the others.

    Agents that have `facts` need the data that they are trained on.
    """
    return jax.vmap(lambda agent, seed: agent.init(jax.random.PRNGKey(seed), data), (agent_axis(agent), 0))(
        agent, seeds
    )


@partial(jax.jit, static_argnames=("phase", "kept"))
def begin(agent: Agent, states: State, phase: str, kept: tuple[str, ...] = ()) -> State:
    """The states of all seeds with which a phase of their run begins; see `Agent.begin`. The networks `kept` and their
    targets stay as they are.
    """
    begun = jax.vmap(lambda agent, state: agent.begin(state, phase), (agent_axis(agent), 0))(agent, states)
    params = begun.params | {name: states.params[name] for name in kept}
    targets = begun.targets | {name: states.targets[name] for name in kept if name in states.targets}
    begun = begun.replace(params=params, targets=targets)
    return jax.tree.map(jnp.copy, begun)  # what the agent copied may not share memory, which is donated later


@partial(jax.jit, static_argnames=("length", "cycle"), donate_argnames="states")
def run_segment(
    agent: Agent, states: State, data: Dataset, length: int, cycle: Sequence[str]
) -> tuple[State, dict[str, Array]]:
    """Run `length` updates of every seed; return the states and each metric's mean over the segment, (S,).

    `cycle` names the agent's update methods that follow one another (see `Agent.cycle`); `length` is a multiple of
    theirs.
    """

    def segment(agent, state):
        def one_cycle(state, _):
            metrics: dict[str, Array] = {}
            for name, repeats in groupby(cycle):
                state, new = repeated(partial(call, agent, name, data), state, len(list(repeats)))
                metrics |= new
            return state, metrics

        state, metrics = jax.lax.scan(one_cycle, state, length=length // len(cycle))
        return state, jax.tree.map(lambda values: values.mean(axis=0), metrics)

    with named_precision(agent.config.matmul_precision):
        return over_seeds(segment, agent, states)


def named_precision(name: str):
    """A context in which matrix products are traced at one of the precisions that an agent may have.

    bfloat16 is asked for by JAX's name of the arithmetic: what it calls "bfloat16" is a device's default.
    """
    return jax.default_matmul_precision("BF16_BF16_F32" if name == "bfloat16" else name)


def agent_axis(agent: Agent) -> int | None:
    """The axis over which a loop over seeds takes the agent's hyperparameters apart: 0 where each seed has numbers of
    its own, (S,), None where all seeds share them.
    """
    return 0 if any(jnp.ndim(number) for number in jax.tree.leaves(agent)) else None


def over_seeds(function: Callable, agent: Agent, states: State) -> Any:
    """Apply function(agent, state) to every seed, and stack.

    All at once on an accelerator, which one seed does not fill. On a CPU one after the other: one seed's matrix
    products fill it, and batched ones are a quarter slower there.
    """
    if jax.default_backend() != "cpu":
        return jax.vmap(function, (agent_axis(agent), 0))(agent, states)
    if agent_axis(agent) is None:
        return jax.lax.map(lambda state: function(agent, state), states)
    return jax.lax.map(lambda pair: function(*pair), (agent, states))


def call(agent: Agent, name: str, data: Dataset, state: State) -> tuple[State, dict[str, Array]]:
    """Call an update method on the batch that the update draws."""
    return getattr(agent, name)(state, sample(agent, state, data))


def repeated(function: Callable[[State], tuple[State, dict]], state: State, times: int) -> tuple[State, dict]:
    """Call several times on the state, compiled once; return the state and the last metrics."""
    if times == 1:
        return function(state)
    state, metrics = jax.lax.scan(lambda state, _: function(state), state, length=times)
    return state, jax.tree.map(lambda values: values[-1], metrics)


def sample(agent: Agent, state: State, data: Transitions) -> Batch:
    """Draw, as the agent does, the batch of the next update."""
    rng = jax.random.fold_in(jax.random.fold_in(state.rng, state.step), SAMPLING)
    return agent.sample(data, rng, state)


@jax.jit
def act(agent: Agent, states: State, observations: Array, ids: Array) -> Array:
    """Action chunks (S, P, H, d) for observations (S, P, O); the noise of each is drawn from its ids (S, P, n)."""

    def one(agent, state, observation, identity):
        rng = jax.random.PRNGKey(identity[0])
        for word in identity[1:]:
            rng = jax.random.fold_in(rng, word)
        return agent.act(state, observation[None], rng)[0]

    with named_precision(agent.config.matmul_precision):
        every_seed = jax.vmap(jax.vmap(one, (None, None, 0, 0)), (agent_axis(agent), 0, 0, 0))
        return every_seed(agent, states, observations, ids)
