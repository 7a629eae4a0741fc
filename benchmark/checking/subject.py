"""The agent under examination: built small, its data and states, its updates one at a time."""

from __future__ import annotations

import dataclasses
import functools
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from agents.base import Agent, Batch, State
from agents.transitions import Transitions
from benchmark.checking.words import Fault
from benchmark.loop.segments import init_states
from benchmark.planning.configure import configure
from benchmark.planning.plan import known_settings, settings_for
from benchmark.planning.registry import agent_class
from envs.data.dataset import Dataset, from_transitions
from envs.tasks import Domain, Task, dimensions, get_domain

SMALL = dict(hidden=(16,), ensemble=2, batch_size=8)
"""Networks of the checks of correctness; an agent without one of these options goes without."""
PHASES = ("training", "online")
"""What `Agent.begin` may be asked for."""
REWARD_CYCLES = 20
"""Patterns of updates after which an agent whose rewards have changed nothing is taken not to use them."""


class Subject:
    """The agent under examination, and what several checks want of it."""

    def __init__(self, name: str, settings: Mapping[str, Any] | None = None):
        """`name` as on the command line: an agent's name or a file's path; `settings` win over all others."""
        self.name = str(Path(name).resolve()) if name.endswith(".py") else name
        self.own = dict(settings or {})
        self.cls = agent_class(self.name)
        self.file = sys.modules[self.cls.__module__].__file__
        self.domain = get_domain("cube-double-play")

    def small(self, domain: Domain, **settings: Any) -> Agent:
        """The agent with small networks, and otherwise as on that domain, chunk length included."""
        given = settings_for(self.cls, Task(domain, 1), known_settings(self.cls, SMALL), self.own)
        return self.cls(configure(self.cls, given, settings), *dimensions(domain))

    @functools.cached_property
    def agent(self) -> Agent:
        """A small agent of `domain`, which has chunks."""
        return self.small(self.domain)

    @functools.cached_property
    def data(self) -> Dataset:
        """Random data for `agent`."""
        return random_data(self.agent.observation_dim, self.agent.action_dim)

    @functools.cached_property
    def uses_rewards(self) -> bool:
        """Whether rewards change what the agent learns."""
        batch = batch_for(self.agent, self.data, 8)
        state = init_states(self.agent, jnp.zeros(1, jnp.uint32), data=self.data)
        state = jax.tree.map(lambda leaf: leaf[0], state)
        low = batch._replace(rewards=batch.rewards - 5)
        one = other = state
        for _ in range(REWARD_CYCLES):  # an update may draw what it teaches, and rewards count for some of it only
            one, other = one_cycle(self.agent, one, batch), one_cycle(self.agent, other, low)
            if distance(one.params, other.params) > 0:
                return True
        return False


def random_data(observation_dim: int, action_dim: int, seed: int = 0) -> Dataset:
    """A few hundred random transitions, of trajectories longer and shorter than a chunk, solved now and then."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(2, 40, 40)
    size = lengths.sum()
    terminals = np.zeros(size)
    terminals[np.cumsum(lengths) - 1] = 1
    solved = rng.uniform(size=size) < 0.1
    observations = rng.standard_normal((size, observation_dim))
    return from_transitions(
        observations=observations,
        actions=rng.uniform(-1, 1, (size, action_dim)),
        rewards=solved - 1.0,
        masks=1.0 - solved,
        terminals=terminals,
        next_observations=rng.standard_normal((size, observation_dim)),
    )


def batch_for(agent: Agent, data: Dataset, size: int) -> Batch:
    """A batch of another size than the configuration's."""
    own = type(agent).sample is not Agent.sample
    return drawn(of_size(agent, size), data, jax.random.PRNGKey(0), initial(agent, 0, data) if own else None)


@jax.jit
def drawn(agent: Agent, data: Transitions, rng: Array, state: State | None) -> Batch:
    """The batch of one update; only an agent's own sampler looks at the state."""
    return agent.sample(data, rng, state)  # type: ignore[arg-type]


def of_size(agent: Agent, size: int) -> Agent:
    """The agent with another batch size."""
    config = dataclasses.replace(agent.config, batch_size=size)
    return type(agent)(config, agent.observation_dim, agent.action_dim)


@jax.jit
def initial(agent: Agent, seed: int, data: Dataset) -> State:
    """The state of one seed before the first update."""
    return agent.init(jax.random.PRNGKey(seed), data)


@jax.jit
def initial_extra(agent: Agent, data: Dataset) -> dict[str, Array]:
    """What such a state has besides networks."""
    return agent.init(jax.random.PRNGKey(0), data).extra


def random_state(agent: Agent, data: Dataset, seed: int = 0) -> State:
    """A state with random parameters, without compiling the initialisation of the agent's networks."""
    rng = np.random.default_rng(seed)
    form = jax.eval_shape(agent.init, jax.random.PRNGKey(0), data)
    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), form)

    def fill(leaf):
        return jnp.asarray(0.2 * rng.standard_normal(leaf.shape), leaf.dtype)

    params, targets = (jax.tree.map(fill, networks) for networks in (zeros.params, zeros.targets))
    return zeros.replace(params=params, targets=targets, extra=initial_extra(agent, data))


def phases(agent: Agent) -> list[tuple[int, tuple[str, ...]]]:
    """Where each pattern of updates begins, and the pattern; the last goes on to the end of training."""
    found, start = [], 0
    while True:
        names, until = agent.cycle(start)
        found.append((start, tuple(names)))
        if until is None:
            return found
        if until <= start:
            raise Fault(f"cycle({start}) says that its pattern ends at {until}, which is not later")
        start = until


def kinds_of_update(patterns: Sequence[tuple[int, tuple[str, ...]]]) -> list[str]:
    """Each update of the patterns once."""
    return list(dict.fromkeys(name for _, pattern in patterns for name in pattern))


def one_cycle(agent: Agent, state: State, batch: Batch) -> State:
    """The state after one pattern of the updates that last to the end, all on one batch."""
    for name in phases(agent)[-1][1]:
        state, _ = compiled(name)(agent, state, batch)
    return state


@functools.cache
def compiled(name: str) -> Callable[..., Any]:
    """An update method, jitted as a function of (agent, state, batch)."""
    return jax.jit(lambda agent, state, batch: getattr(agent, name)(state, batch))


def distance(a: Any, b: Any) -> float:
    """Euclidean distance of two pytrees."""
    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return float(sum(((np.asarray(x, np.float64) - np.asarray(y, np.float64)) ** 2).sum() for x, y in pairs) ** 0.5)


def differing(a: Any, b: Any, same: Callable[[Any, Any], bool]) -> list[str]:
    """Names of the leaves of two pytrees of one structure that are not the same."""
    pairs = zip(jax.tree_util.tree_leaves_with_path(a), jax.tree.leaves(b), strict=True)
    return [jax.tree_util.keystr(path, simple=True, separator=".") for (path, x), y in pairs if not same(x, y)]


def equal(a: Any, b: Any) -> bool:
    """Whether two arrays are the same to the bit, NaN equal to NaN."""
    return np.array_equal(np.asarray(a), np.asarray(b), equal_nan=True)
