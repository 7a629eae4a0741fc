"""What every agent shares: the whole update, the pytree of hyperparameters, acting."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agents.base import numeric_fields
from agents.fql import FQL
from agents.networks import pessimistic
from agents.rql import RQL
from benchmark.planning.registry import agent_class, agent_names
from tests.helpers import conformance as c
from tests.helpers.worlds import FakeWorld

SMALL = dict(hidden=(16, 16), ensemble=2, chunk_length=3, batch_size=6)
ADAM = dict(b1=0.9, b2=0.999, eps=1e-8)


def small_agent(name):
    cls = agent_class(name)
    known = {field.name for field in dataclasses.fields(cls.Config)}
    return cls(cls.Config(**{k: v for k, v in SMALL.items() if k in known}), c.O, c.D)


def gradient_of(agent, state):
    """The gradient that `update` takes at this state, computed apart from it."""
    noise = agent.draw_noise(jax.random.fold_in(state.rng, state.step), c.B)

    def objective(params):
        fixed = agent.bind(state.params)
        return agent.loss(agent.bind(params), fixed, agent.bind(state.targets), c.sequence_batch(), noise)[0]

    return jax.grad(objective)(state.params)


@pytest.mark.parametrize("cls, rates", [(FQL, {"critic": 0.005}), (RQL, {"value": 0.005, "actor": 0.001})])
def test_update_is_adam_on_the_joint_loss_and_targets_lag_by_one_step(cls, rates):
    with jax.enable_x64(True):
        agent = cls(cls.Config(**c.COMMON, learning_rate=3e-4), c.O, c.D)
        state = jax.tree.map(
            lambda x: x.astype(jnp.float64) if x.dtype == jnp.float32 else x, jax.jit(agent.init)(jax.random.PRNGKey(0))
        )
        update, gradient = jax.jit(agent.update), jax.jit(gradient_of)
        first = second = jax.tree.map(np.zeros_like, jax.device_get(state.params))
        for k in range(1, 4):
            before, g = jax.device_get((state, gradient(agent, state)))
            first = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, first, g)
            second = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g**2, second, g)
            expected = jax.tree.map(
                lambda p, m, v: p - 3e-4 * (m / (1 - 0.9**k)) / (np.sqrt(v / (1 - 0.999**k)) + 1e-8),
                before.params,
                first,
                second,
            )
            targets = {
                name: jax.tree.map(lambda t, p, r=rate: r * p + (1 - r) * t, before.targets[name], before.params[name])
                for name, rate in rates.items()
            }
            state, _ = update(state, c.sequence_batch())
            jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-7, atol=1e-12), state.params, expected)
            jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12), state.targets, targets)
        assert int(state.step) == 3


@pytest.mark.parametrize("name", agent_names())
def test_numeric_hyperparameters_are_leaves_and_change_without_compiling(name):
    agent = small_agent(name)
    assert len(jax.tree.leaves(agent)) == len(numeric_fields(agent.config)) >= 3
    traces = []

    @jax.jit
    def rate(agent):
        traces.append(1)
        return agent.config.learning_rate * 2

    for value in (1e-3, 2e-3):
        changed = type(agent)(dataclasses.replace(agent.config, learning_rate=value), c.O, c.D)
        np.testing.assert_allclose(rate(changed), 2 * value, rtol=1e-6)
    assert len(traces) == 1


@pytest.mark.parametrize("name", agent_names())
def test_acting_gives_chunks_in_bounds_for_any_batch_size_and_depends_on_rng_alone(name):
    agent = small_agent(name)
    state = jax.jit(agent.init)(jax.random.PRNGKey(0), FakeWorld().data)
    act = jax.jit(agent.act)
    for size in (1, 5):
        observations = jnp.asarray(np.random.default_rng(0).normal(size=(size, c.O)), jnp.float32)
        chunks = act(state, observations, jax.random.PRNGKey(1))
        assert chunks.shape == (size, 3, c.D)
        assert (jnp.abs(chunks) <= 1).all()
        np.testing.assert_array_equal(chunks, act(state, observations, jax.random.PRNGKey(1)))


def test_pessimism_has_a_gradient_where_members_agree():
    values = jnp.array([[1.0, 1.0], [1.0, 3.0]])
    gradient = jax.grad(lambda v: pessimistic(v, 0.5).sum())(values)
    np.testing.assert_allclose(gradient, [[0.5, 0.75], [0.5, 0.25]], rtol=1e-6)
    np.testing.assert_allclose(pessimistic(values, 0.5), [1.0, 1.5])


def test_no_two_agents_have_equal_structures():
    """Else JAX may run the compiled program of one for the other."""
    structures = {}
    for name in agent_names():
        cls = agent_class(name)
        structures[name] = jax.tree.structure(cls(cls.Config(), 2, 2))
    for one, other in itertools.combinations(structures, 2):
        assert structures[one] != structures[other], (one, other)
