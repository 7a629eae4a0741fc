"""CGQL, CGQL-M and CGQL-L: the authors' numbers, the linex loss, guided sampling and a whole update."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agents.cgql import CGQL, CGQLL, CGQLM, linex
from tests.helpers import conformance as c
from tests.helpers.references import assert_updates, tuned_domains

NUMBERS = {"critic": 1, "target critic": 2, "flow": 4, "target flow": 5}
CASES = {
    "CGQL": (CGQL, dict(inv_temp=10.0, guidance_coef=0.1)),
    "CGQL-M": (CGQLM, dict(inv_temp=10.0, guidance_coef=0.1, noisy_coef=0.1)),
    "CGQL-L": (CGQLL, dict(inv_temp=10.0, guidance_coef=0.1, noisy_coef=0.1)),
}
METRICS = {"TD": "critic_loss", "FM": "flow_loss", "noisy": "noisy_critic_loss"}


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def make(name, **settings):
    cls, tuned = CASES[name]
    return cls(cls.Config(**{**c.COMMON, **tuned, **settings}), c.O, c.D)


@functools.cache
def filled_state():
    """All three have the same networks."""
    return c.filled_state(make("CGQL"), NUMBERS)


@pytest.mark.parametrize("name", CASES)
def test_loss_and_gradients_equal_the_authors(name):
    agent = make(name)
    found = c.errors(agent, NUMBERS, c.sequence_batch(), c.VECTORS[name], METRICS, {})
    assert max(found.values()) < c.PRECISION, found


def test_linex_equals_its_printed_values():
    predictions = jnp.array([2.3, 0.3, -0.19, -0.2001, -0.7])
    expected = [23.0, 4.0, 132.38978, 5.001, 10.0]
    np.testing.assert_allclose(linex(predictions, 0.3, 10.0, 5.0), expected, rtol=1e-6)


def test_linex_has_a_constant_slope_above_its_clip_however_far():
    slopes = jax.vmap(jax.grad(lambda n: linex(n, 0.0, 10.0, 5.0)))(jnp.array([-1e6, -0.51, -0.49, 0.0]))
    np.testing.assert_allclose(slopes, [-10, -10, 10 - 10 * np.exp(4.9), 0], rtol=1e-12)


@jax.jit
def guided_actions(agent, state, s, z):
    return agent.guided_actions(agent.bind(state.params).critic, agent.bind(state.targets).flow, s, z)


@jax.jit
def mean_value_gradient(agent, state, s, x, t):
    return jax.grad(lambda x: agent.bind(state.params).critic(s, x, t).mean(axis=0).sum())(x)


@pytest.mark.parametrize(
    ("name", "settings"),
    [("CGQL", {}), ("CGQL", dict(inv_temp=0.0)), ("CGQL", dict(guidance_coef=1.0)), ("CGQL-M", {})],
)
def test_guided_sampling_follows_its_equation_step_by_step(name, settings):
    agent, state, s = make(name, **settings), filled_state(), c.sequence_batch().observations
    velocity = jax.jit(agent.bind(state.targets).flow)
    z = c.fill_draw(0, agent.draws(c.B)["next_latent"])
    x, beta, strength, F = z, agent.config.inv_temp, agent.config.guidance_coef, agent.config.flow_steps
    for i in range(F):
        t = np.full((c.B, 1), i / F)
        v = np.asarray(velocity(s, x, t))
        if i > 0 and beta > 0:
            slope = np.asarray(mean_value_gradient(agent, state, s, x, np.ones_like(t) if name == "CGQL" else t))
            v = v + (beta * (1 - t) * slope + x) * strength / t
        x = x + v / F
    np.testing.assert_allclose(guided_actions(agent, state, s, z), np.clip(x, -1, 1), rtol=1e-9, atol=1e-12)
    assert 0 < (np.abs(x) > 1).mean() < 1, "the case should exercise the clip"


@pytest.mark.parametrize(("strength", "factor"), [(0.01, 1.029), (0.1, 1.317), (1.0, 10.0)])
def test_without_velocity_or_value_guidance_still_stretches_the_noise(strength, factor):
    state = filled_state()
    zero = jax.tree.map(jnp.zeros_like, (state.params, state.targets))
    state = state.replace(params=zero[0], targets=zero[1])
    x = guided_actions(make("CGQL", guidance_coef=strength), state, jnp.zeros((1, c.O)), jnp.full((1, c.A), 0.01))
    np.testing.assert_allclose(x, 0.01 * factor, rtol=1e-3)


@pytest.mark.parametrize(("name", "size"), [("CGQL", 1), ("CGQL-M", 3), ("CGQL-L", 1)])
def test_actions_are_chunks_within_bounds(name, size):
    act, s = jax.jit(make(name).act), c.sequence_batch().observations[:size] * 20
    actions, others = (act(filled_state(), s, jax.random.PRNGKey(i)) for i in range(2))
    assert actions.shape == (size, c.H, c.D)
    assert float(jnp.abs(actions).max()) <= 1
    assert not np.allclose(actions, others), "acting is stochastic"


@pytest.mark.parametrize("name", ["CGQL-M"])
def test_updates_are_adam_without_clipping_and_both_targets_lag(name):
    norms = assert_updates(make(name), filled_state(), c.sequence_batch(), clip=None)
    assert max(norms) > 2, "the case should tell whether the gradient is clipped"


@pytest.mark.parametrize(
    ("cls", "some"),
    [
        (CGQL, {"humanoidmaze-medium-navigate": {"guidance_coef": 0.01}, "puzzle-4x4-play": {"guidance_coef": 0.1}}),
        (CGQLM, {"puzzle-4x4-play": {"guidance_coef": 1, "noisy_coef": 0.001}, "scene-play": {"noisy_coef": 0.1}}),
        (CGQLL, {"antmaze-large-navigate": {"noisy_coef": 0.001}, "cube-quadruple-play": {"guidance_coef": 0.01}}),
    ],
)
def test_tuned_values_are_the_published_ones(cls, some):
    domains = tuned_domains(cls)
    assert all(values["inv_temp"] == 10 for values in domains.values())
    for domain, values in some.items():
        assert values.items() <= domains[domain].items()
