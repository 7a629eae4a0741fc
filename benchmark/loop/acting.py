"""What acting reads of all that an agent learns, and acting with that alone."""

from __future__ import annotations

import copy
import dataclasses
import itertools
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.interpreters.partial_eval import dce_jaxpr

from agents.base import Agent, State, numeric_fields
from benchmark.loop.segments import act
from benchmark.runs.policies import Shape

KEY = jax.eval_shape(lambda: jax.random.PRNGKey(0))


@dataclasses.dataclass(frozen=True)
class Layout:
    """Names, types and sizes of all arrays of one seed's state, and how they make one. Programs are compiled for it."""

    tree: Any
    arrays: tuple[tuple[str, Shape], ...]

    @staticmethod
    def of(state: State) -> Layout:
        """That of one seed's state, or of its shapes."""
        leaves, tree = jax.tree_util.tree_flatten_with_path(state)
        names = [jax.tree_util.keystr(path, simple=True, separator="/") for path, _ in leaves]
        shapes = [(str(leaf.dtype), tuple(leaf.shape)) for _, leaf in leaves]
        return Layout(tree, tuple(zip(names, shapes, strict=True)))

    @property
    def shapes(self) -> dict[str, Shape]:
        """Type and sizes of every array, by name."""
        return dict(self.arrays)

    def state(self) -> State:
        """The shapes as a state."""
        return self.tree.unflatten([jax.ShapeDtypeStruct(sizes, kind) for _, (kind, sizes) in self.arrays])

    def filled(self, given: Mapping[str, Array], seeds: int) -> State:
        """States of so many seeds of these arrays (S, ...), and zeros in place of those that are not given: within a
        program that does not read these, they are never made.
        """
        zeros = {name: jnp.zeros((seeds, *sizes), kind) for name, (kind, sizes) in self.arrays if name not in given}
        return self.tree.unflatten([(given if name in given else zeros)[name] for name, _ in self.arrays])


def layout_of(agent: Agent, extra: Mapping[str, Shape]) -> Layout:
    """The layout of an agent's state; `extra` says what its facts of the data, which are not here, look like."""
    blank = copy.copy(agent)
    facts = {name: shape for name, shape in extra.items() if name not in agent.init_extra()}
    vars(blank)["facts"] = lambda data, rng: {name: jnp.zeros(sizes, kind) for name, (kind, sizes) in facts.items()}
    return Layout.of(jax.eval_shape(blank.init, KEY))


def read_by_acting(agent: Agent, layout: Layout) -> tuple[str, ...]:
    """Names of the arrays that acting reads, at any value of the hyperparameters that only acting reads: those on
    which its actions depend, traced. Found so for any agent, whatever its networks are called.
    """
    found = _traced(agent, layout)
    for other in _variants(agent):
        try:
            found |= _traced(other, layout)
        except Exception:
            continue  # a value that acting does not take needs nothing
    return tuple(name for name, _ in layout.arrays if name in found)


def _traced(agent: Agent, layout: Layout) -> set[str]:
    numbers = jax.tree.map(lambda _: jax.ShapeDtypeStruct((), np.float32), agent)
    observations = jax.ShapeDtypeStruct((1, agent.observation_dim), np.float32)
    arguments = (numbers, layout.state(), observations, KEY)
    jaxpr = jax.make_jaxpr(lambda agent, *rest: agent.act(*rest))(*arguments).jaxpr
    _, used = dce_jaxpr(jaxpr, [True] * len(jaxpr.outvars))
    first = len(jax.tree.leaves(numbers))
    return {name for (name, _), read in zip(layout.arrays, used[first:], strict=False) if read}


def _variants(agent: Agent) -> Iterator[Agent]:
    """The agent at values of its structural acting options between which its program may differ."""
    fields = {field.name: field for field in dataclasses.fields(agent.config)}
    names = [name for name in agent.acting_options if name not in numeric_fields(agent.config)]
    values = [_values(getattr(agent.config, name), fields[name]) for name in names]
    for combination in itertools.product(*values) if names else ():
        config = dataclasses.replace(agent.config, **dict(zip(names, combination, strict=True)))
        yield type(agent)(config, agent.observation_dim, agent.action_dim)


def _values(own: Any, field: dataclasses.Field) -> list[Any]:
    if field.metadata.get("choices"):
        return list(field.metadata["choices"])
    if isinstance(own, bool):
        return [False, True]
    if isinstance(own, int):
        least = int(field.metadata.get("low") or 0)
        return sorted({own, least, least + 1, 1, 2})
    return [own]


@partial(jax.jit, static_argnames="layout")
def act_with(agent: Agent, arrays: dict[str, Array], observations: Array, ids: Array, layout: Layout) -> Array:
    """Action chunks (S, P, H, d) as `act` gives them, of the arrays (S, ...) that acting reads."""
    return act(agent, layout.filled(arrays, len(ids)), observations, ids)
