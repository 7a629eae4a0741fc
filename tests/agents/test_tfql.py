"""TFQL: the derived numbers, that it reduces to RQL where it should, and what each decision point does."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agents.rql import RQL, reverse
from agents.tfql import TFQL, reversed_levels
from tests.agents.test_conformance import RQL_NUMBERS, rql_batch
from tests.helpers import conformance as c

F = 10
SETTINGS = dict(alpha=3.0, expectile=0.7)


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


@functools.cache
def make(cls=TFQL, **settings):
    agent = cls(cls.Config(**c.COMMON, **SETTINGS, **settings), c.O, c.D)
    return agent, c.filled_state(agent, RQL_NUMBERS)


@jax.jit
def compiled_value_loss(agent, params, targets, batch, noise):
    networks = agent.bind(params)
    return agent.value_loss(networks, networks, agent.bind(targets), batch, noise)


def value_loss(agent, state, noise, targets=None):
    return float(compiled_value_loss(agent, state.params, targets or state.targets, rql_batch(), noise))


def prescribed_noise(agent):
    return c.fill_noise(agent.draws(c.B))


def at_levels(agent, state, levels):
    """The default agent's value loss with given levels; noise as prescribed for it."""
    return value_loss(agent, state, {**prescribed_noise(agent), "level": jnp.asarray(levels)})


@pytest.mark.parametrize(
    ("inner_pessimism", "total", "value", "value_product"),
    [(0.0, 6.2545781, 2.74285036, 0.7328978), (0.5, 6.2268335, 2.71510576, 0.6881118)],
)
def test_loss_and_gradients_equal_the_derived_numbers(inner_pessimism, total, value, value_product):
    agent, state = make(inner_pessimism=inner_pessimism)
    assert prescribed_noise(agent)["level"].tolist() == [1, 4, 7, 10, 2, 5]
    loss, metrics, gradient = c.loss_and_gradient(agent, state, rql_batch())
    np.testing.assert_allclose(loss, total, rtol=1e-8)
    np.testing.assert_allclose(metrics["value_loss"], value, rtol=1e-8)
    np.testing.assert_allclose(metrics["cloning_loss"], 1.178028, rtol=1e-6)
    np.testing.assert_allclose(metrics["improvement_loss"], -0.0223562674, rtol=1e-8)
    np.testing.assert_allclose(c.inner_product(gradient["value"], state.params["value"]), value_product, rtol=1e-6)
    np.testing.assert_allclose(c.inner_product(gradient["actor"], state.params["actor"]), 0.1115013, rtol=1e-6)


def test_with_complete_actions_alone_it_is_rql():
    agent, state = make()
    rql, _ = make(RQL)
    noise = {**prescribed_noise(rql), "depth": jnp.zeros(c.B // 2), "grid_depth": jnp.zeros(c.B // 2, int)}
    np.testing.assert_allclose(at_levels(agent, state, [F] * c.B), value_loss(rql, state, noise), rtol=1e-12)


def test_actor_losses_and_their_gradients_are_rqls():
    agent, state = make()
    rql, _ = make(RQL)
    batch, noise = rql_batch(), prescribed_noise(agent)

    def losses(agent):
        return jax.jit(
            jax.value_and_grad(
                lambda params: sum(agent.actor_losses(agent.bind(params), agent.bind(state.params), batch, noise))
            )
        )(state.params)

    jax.tree.map(np.testing.assert_array_equal, losses(agent), losses(rql))


def test_levels_keep_the_way_of_rqls_reversal():
    agent, state = make()
    batch = rql_batch()

    def field(x, f):
        return agent.bind(state.params).actor(batch.observations, x, f)

    levels = reversed_levels(field, batch.actions, F)
    assert levels.shape == (F + 1, c.B, c.A)
    np.testing.assert_array_equal(levels[F], batch.actions)
    end, _ = reverse(field, batch.actions, jnp.ones((c.B, 1)), F)
    np.testing.assert_allclose(levels[0], end, rtol=1e-12)
    for k in range(F):
        later = levels[k + 1]
        stepped = later - field(later, jnp.full((c.B, 1), (k + 1) / F)) / F
        np.testing.assert_allclose(levels[k], stepped, rtol=1e-12)


def test_refinement_steps_have_neither_reward_nor_discount_nor_mask():
    """With a constant target value, y is that constant for partial actions and the chunk's return for complete ones."""
    agent, state = make()
    constant = jax.tree.map(jnp.zeros_like, state.targets)
    constant["value"]["mlp"]["dense_2"]["bias"] += 2.5
    batch, noise = rql_batch(), prescribed_noise(agent)
    (x, f), _ = agent.transitions(agent.bind(state.params), batch, noise)
    values = agent.bind(state.params).value(batch.observations, x, f)
    y = np.full(c.B, 2.5)
    y[3] = (batch.rewards + 0.99**c.H * batch.masks * 2.5)[3]  # the one complete action
    error = y - np.asarray(values)
    expected = (np.asarray(batch.valid) * np.where(error >= 0, 0.7, 0.3) * error**2).mean()
    np.testing.assert_allclose(value_loss(agent, state, noise, constant), expected, rtol=1e-12)


def test_all_levels_are_the_mean_over_levels():
    agent, state = make()
    everywhere, _ = make(levels="all")
    assert list(everywhere.draws(c.B)) == ["next_latent", "x0", "t"]
    one_by_one = [at_levels(agent, state, [k] * c.B) for k in range(F + 1)]
    np.testing.assert_allclose(
        value_loss(everywhere, state, prescribed_noise(everywhere)), np.mean(one_by_one), rtol=1e-12
    )


def test_mixed_levels_are_rqls_depths_and_lead_one_step_on():
    agent, state = make(levels="mixed")
    rql, _ = make(RQL)
    assert agent.draws(c.B) == rql.draws(c.B)
    noise = {**prescribed_noise(agent), "depth": jnp.array([0.05, 0.1, 0.73]), "grid_depth": jnp.array([0, 1, 10])}
    batch, networks = rql_batch(), agent.bind(state.params)
    (x, f), (x_next, f_next) = agent.transitions(networks, batch, noise)
    np.testing.assert_allclose(f[:, 0], [0.95, 0.9, 0.27, 1, 0.9, 0], atol=1e-15)
    np.testing.assert_allclose(f_next[:, 0], [1, 1, 0.37, 1, 1, 0.1], atol=1e-15)
    np.testing.assert_allclose(x_next[jnp.array([0, 1, 3, 4])], batch.actions[jnp.array([0, 1, 3, 4])])
    np.testing.assert_allclose(x, rql.reversed_actions(networks, batch, rql.depths(noise))[0])

    targets = agent.bind(state.targets)
    y = np.asarray(targets.value(batch.observations, x_next, f_next).mean(0)).copy()
    y[3] = agent.next_value_target(targets, batch, noise)[3]  # depth 0: the environment's step
    error = y - np.asarray(networks.value(batch.observations, x, f))
    expected = (np.asarray(batch.valid) * np.where(error >= 0, 0.7, 0.3) * error**2).mean()
    np.testing.assert_allclose(value_loss(agent, state, noise), expected, rtol=1e-12)


def test_invalid_chunks_train_inner_levels_only_where_asked():
    """The losses of both options at one inner level and at the last one, against the definition."""
    default, state = make()
    lenient, _ = make(inner_validity=False)
    valid = np.asarray(rql_batch().valid)
    assert 0 < valid.sum() < c.B
    noise = {**prescribed_noise(default), "level": jnp.full(c.B, 4)}
    networks, batch = default.bind(state.params), rql_batch()
    (x, f), (x_next, f_next) = default.transitions(networks, batch, noise)
    y = default.bind(state.targets).value(batch.observations, x_next, f_next).mean(0)
    error = np.asarray(y - networks.value(batch.observations, x, f))
    loss = np.where(error >= 0, 0.7, 0.3) * error**2
    np.testing.assert_allclose(value_loss(default, state, noise), (valid * loss).mean(), rtol=1e-12)
    np.testing.assert_allclose(value_loss(lenient, state, noise), loss.mean(), rtol=1e-12)
    np.testing.assert_allclose(at_levels(lenient, state, [F] * c.B), at_levels(default, state, [F] * c.B), rtol=1e-12)


def test_the_mean_at_inner_levels_is_half_the_squared_error():
    symmetric, state = make(inner_expectile=False)
    default, _ = make()
    half = TFQL(TFQL.Config(**c.COMMON, alpha=3.0, expectile=0.5), c.O, c.D)
    np.testing.assert_allclose(at_levels(symmetric, state, [4] * c.B), at_levels(half, state, [4] * c.B), rtol=1e-12)
    np.testing.assert_allclose(at_levels(symmetric, state, [F] * c.B), at_levels(default, state, [F] * c.B), rtol=1e-12)
    assert abs(at_levels(default, state, [4] * c.B) - at_levels(half, state, [4] * c.B)) > 1e-3


def test_policy_times_on_the_grid_are_rounded_down():
    agent, state = make(policy_times="grid")
    default, _ = make()
    noise = prescribed_noise(agent)
    noise["t"] = jnp.array([0.0, 0.09, 0.15, 0.51, 0.99, 0.999])[:, None]
    rounded = {**noise, "t": jnp.array([0.0, 0.0, 0.1, 0.5, 0.9, 0.9])[:, None]}
    networks = agent.bind(state.params)
    np.testing.assert_allclose(
        agent.actor_losses(networks, networks, rql_batch(), noise),
        default.actor_losses(networks, networks, rql_batch(), rounded),
        rtol=1e-12,
    )


def test_an_update_moves_targets_at_their_rates_and_actions_stay_in_bounds():
    agent, state = make()
    after, metrics = jax.jit(agent.update)(state, rql_batch())
    assert np.isfinite(metrics["loss"])
    for name, rate in {"value": 0.005, "actor": 0.001}.items():
        expected = jax.tree.map(lambda t, o: (1 - rate) * t + rate * o, state.targets[name], state.params[name])
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12), after.targets[name], expected)
    actions = agent.act(after, 9 * jnp.ones((1, c.O)), jax.random.PRNGKey(0))
    assert actions.shape == (1, c.H, c.D) and float(jnp.abs(actions).max()) <= 1
