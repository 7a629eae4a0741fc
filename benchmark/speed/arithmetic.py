"""The arithmetic of an update, counted, and what this device can do of it in a second.

Arithmetic is counted as model FLOP: the matrix products that an update as written needs, 2 M N K each. Loops count by
their length, results that nothing uses are left out, and a product that is written twice counts twice, though the
compiler may merge the two. XLA's own count takes the body of a loop once, whatever its length, and adds the elementwise
work, which the peak that we compare with does not do; hence a count of our own.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import Jaxpr, jaxprs_in_params
from jax.interpreters.partial_eval import dce_jaxpr

from agents.base import Agent
from benchmark.loop.segments import named_precision, sample
from envs.data.dataset import Dataset


def model_flop(function: Callable, *arguments: Any) -> int:
    """FLOP of the matrix products of function(*arguments), which may be shapes (`jax.ShapeDtypeStruct`).

    Raises a ValueError where a product is in a loop of unknown length.
    """
    jaxpr = jax.make_jaxpr(function)(*arguments).jaxpr
    jaxpr, _ = dce_jaxpr(jaxpr, [True] * len(jaxpr.outvars))
    return _products(jaxpr)


def _products(jaxpr: Jaxpr) -> int:
    total = 0
    for equation in jaxpr.eqns:
        inner = [_products(part) for part in jaxprs_in_params(equation.params)]
        name = equation.primitive.name
        if name == "dot_general":
            (contracted, _), _ = equation.params["dimension_numbers"]
            left: Any = equation.invars[0].aval
            result: Any = equation.outvars[0].aval
            total += 2 * result.size * math.prod(left.shape[axis] for axis in contracted)
        elif name == "scan":
            total += equation.params["length"] * sum(inner)
        elif name == "cond":
            total += max(inner)
        elif name == "while" and any(inner):
            raise ValueError("a matrix product in a loop of unknown length cannot be counted")
        else:
            total += sum(inner)
    return total


def update_flop(agent: Agent, data: Dataset, cycle: tuple[str, ...]) -> float | None:
    """Model FLOP of one update of one seed, the mean over a cycle; None where it cannot be counted."""
    state = jax.eval_shape(agent.init, jax.random.PRNGKey(0), data)
    batch = jax.eval_shape(lambda state: sample(agent, state, data), state)
    try:
        counts = {name: model_flop(getattr(agent, name), state, batch) for name in set(cycle)}
    except ValueError:
        return None
    return statistics.mean(counts[name] for name in cycle)


def measure_peak(precision: str = "default", seconds: float = 2.0) -> float:
    """FLOP per second of the largest matrix products that fit the time: float32 arrays, at an agent's precision."""

    @jax.jit
    def product(x):
        with named_precision(precision):
            return jnp.tanh(x @ x)  # bounded, so that it can be fed to itself

    deadline = time.perf_counter() + seconds
    size, best = 512, 0.0
    while True:
        x = jax.random.normal(jax.random.PRNGKey(size), (size, size)) / size**0.5
        x = product(x).block_until_ready()
        last = size == 8192
        for _ in range(8 if last else 3):
            started = time.perf_counter()
            x = product(x).block_until_ready()
            elapsed = time.perf_counter() - started
            best = max(best, 2 * size**3 / elapsed)
        if last or time.perf_counter() + 30 * elapsed > deadline:  # twice the size: eight times the work, four times
            return best
        size *= 2
