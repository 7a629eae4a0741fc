"""ReBRAC, FBRAC, FAWAC, DSRL and FEdit: the authors' numbers, the branches these miss, and whole updates."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agents.dsrl import DSRL
from agents.fawac import FAWAC
from agents.fbrac import FBRAC
from agents.fedit import FEdit
from agents.fql import FQL, one_step_losses
from agents.ifql import IFQL
from agents.losses import expectile_loss
from agents.rebrac import DeterministicPolicy, ReBRAC
from agents.rql import RQL
from agents.stochastic import TanhNormal, squashed_sample, temperature_loss
from agents.tfql import TFQL
from tests.helpers import conformance as c
from tests.helpers.references import assert_updates, tuned_domains


def rebrac_actor(trunk):
    """The authors number the trunk and the head of ReBRAC's actor separately."""

    def identity(path):
        return (trunk + 1, 0) if path[-1] == "head" else (trunk, int(path[-1].split("_")[1]))

    return identity


CRITIC = {"critic": 1, "target critic": 2}
CASES = {
    "ReBRAC": (
        ReBRAC,
        dict(alpha=0.03, actor_noise=0.4),
        {**CRITIC, "actor": rebrac_actor(17), "target actor": rebrac_actor(19)},
        {"TD": "critic_loss", "Q term": "q_loss", "BC": lambda m: 0.03 * m["cloning_loss"]},
        {},
    ),
    "FBRAC": (
        FBRAC,
        dict(alpha=0.3),
        {**CRITIC, "flow": 4},
        {"TD": "critic_loss", "FM": "flow_loss", "actor total": lambda m: m["flow_loss"] + m["q_loss"] / 0.3},
        {},
    ),
    "FAWAC": (
        FAWAC,
        dict(inv_temp=0.8),
        {**CRITIC, "value": 3, "flow": 4},
        {"TD": "critic_loss", "V": "value_loss", "actor": "flow_loss"},
        {"V": "value"},
    ),
    "DSRL": (
        DSRL,
        dict(noise_scale=1.4),
        {
            **CRITIC,
            "noise_critic": 10,
            "flow": 4,
            "target flow": 5,
            "noise_policy": c.tanh_normal,
            "temperature": None,
        },
        {
            "TD": "critic_loss",
            "Z": "noise_critic_loss",
            "FM": "flow_loss",
            "π": "policy_loss",
            "α": "temperature_loss",
        },
        {"Z": "noise_critic", "π": "noise_policy", "λ": "temperature"},
    ),
    "FEdit": (
        FEdit,
        dict(edit_scale=0.3),
        {**CRITIC, "flow": 4, "edit": c.tanh_normal, "temperature": None},
        {
            "TD": "critic_loss",
            "FM": "flow_loss",
            "−Q": "q_loss",
            "entropy term": "entropy_loss",
            "α": "temperature_loss",
        },
        {"λ": "temperature"},
    ),
}


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


@functools.cache
def make(name, **settings):
    cls, tuned, numbers, *_ = CASES[name]
    agent = cls(cls.Config(**{**c.COMMON, **tuned, **settings}), c.O, c.D)
    return agent, c.filled_state(agent, numbers)


@pytest.mark.parametrize("name", CASES)
def test_loss_and_gradients_equal_the_authors(name):
    agent, _ = make(name)
    _, _, numbers, metrics_of, networks_of = CASES[name]
    found = c.errors(agent, numbers, c.sequence_batch(), c.VECTORS[name], metrics_of, networks_of)
    assert max(found.values()) < c.PRECISION, found


@pytest.mark.parametrize("name", CASES)
def test_actions_are_chunks_within_bounds(name):
    agent, state = make(name)
    act = jax.jit(agent.act)
    for size in (1, 3):
        s = c.sequence_batch().observations[:size] * 20
        actions = act(state, s, jax.random.PRNGKey(0))
        assert actions.shape == (size, c.H, c.D)
        assert float(jnp.abs(actions).max()) <= 1
        assert not np.allclose(actions, act(state, s, jax.random.PRNGKey(1))), "acting is stochastic"


# ------------------------------------------------------------------------- branches that the vectors do not exercise


def test_squashed_density_is_the_derivative_of_the_cumulative_distribution():
    y, log_density = squashed_sample(*jnp.array([[0.2, -0.4], [-0.5, 0.1]]), jnp.array([0.7, -1.2]))
    np.testing.assert_allclose(y, [0.55430292, -0.93860587], rtol=1e-8)
    np.testing.assert_allclose(log_density, 0.09268355, rtol=1e-7)


def test_squashed_density_stays_exact_where_tanh_saturates():
    u = 30.0
    y, log_density = squashed_sample(jnp.array([u]), jnp.array([0.0]), jnp.array([0.0]))
    assert y == 1
    np.testing.assert_allclose(log_density, -0.5 * np.log(2 * np.pi) + 2 * u - 2 * np.log(2))


def test_log_std_is_clipped_at_both_ends():
    policy = TanhNormal((4,), 2)
    params = policy.init(jax.random.PRNGKey(0), jnp.ones((1, 3)))["params"]
    params["log_std"] = {"kernel": jnp.zeros((4, 2)), "bias": jnp.array([-25.0, 7.0])}
    _, log_std = policy.apply({"params": params}, jnp.ones((1, 3)))
    np.testing.assert_array_equal(log_std, [[-20, 2]])


def test_temperature_falls_while_the_entropy_exceeds_its_target():
    above, below = jnp.array([-5.0, -4.0]), jnp.array([4.0, 5.0])  # log-densities: entropies 4.5 and -4.5
    gradient = jax.grad(temperature_loss)
    assert gradient(1.0, above, -3.0) == 7.5
    assert gradient(1.0, below, -3.0) == -1.5
    np.testing.assert_array_equal(jax.grad(temperature_loss, argnums=1)(1.0, above, -3.0), 0)


def test_fawac_weights_stop_at_their_cap():
    agent, state = make("FAWAC", inv_temp=50.0)
    batch = c.sequence_batch()
    networks = agent.bind(state.params)
    advantage = networks.critic(batch.observations, batch.actions).mean(0) - networks.value(batch.observations)
    weights = agent.weights(networks, batch)
    assert 0 < (weights == 100).sum() < c.B
    np.testing.assert_allclose(weights, np.minimum(np.exp(50 * np.asarray(advantage)), 100))


def test_rebrac_clips_the_noise_and_then_the_action():
    agent, _ = make("ReBRAC", actor_noise=0.4)
    action = agent.perturb(jnp.array([0.0, 0.0, 0.8, -0.8, 0.8]), jnp.array([1.0, 3.0, 1.0, -9.0, -9.0]))
    np.testing.assert_allclose(action, [0.4, 0.5, 1.0, -1.0, 0.3])


def test_rebrac_updates_stay_finite_where_q_is_zero_everywhere():
    """A LayerNorm over one unit is 0, and so is Q until the last bias has moved."""
    agent, _ = make("ReBRAC", hidden=(1,))
    after, metrics = jax.jit(lambda rng: agent.update(agent.init(rng), c.sequence_batch()))(jax.random.PRNGKey(0))
    assert metrics["q_loss"] == 0 and metrics["cloning_loss"] > 0
    assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves((after.params, metrics)))


def test_rebrac_head_starts_ten_times_smaller_than_glorot():
    policy = DeterministicPolicy((64,), 30)
    kernel = jax.jit(policy.init)(jax.random.PRNGKey(0), jnp.ones((1, c.O)))["params"]["head"]["kernel"]
    limit = 0.1 * np.sqrt(6 / (64 + 30))
    assert 0.95 * limit < float(jnp.abs(kernel).max()) <= limit


def test_edits_of_actions_at_the_bound_stay_within_it():
    agent, state = make("FEdit", edit_scale=5.0)
    batch = c.sequence_batch()
    noise = 9 * jnp.ones((c.B, c.A))
    edited = agent.edited(agent.bind(state.params), batch.observations, noise, noise)
    assert float(jnp.abs(edited).max()) == 1


def test_one_step_policies_are_distilled_unclipped_and_valued_clipped():
    action, teacher = jnp.array([[1.5, 0.5]]), jnp.array([[1.0, 0.0]])

    def losses(a):
        return one_step_losses(a, teacher, lambda a: a.sum(-1)[None])

    np.testing.assert_allclose(losses(action), [0.25, -1.5])
    np.testing.assert_allclose(jax.jacobian(lambda a: jnp.stack(losses(a)))(action)[:, 0], [[0.5, 0.5], [0, -1]])


def test_expectile_weighs_errors_by_their_sign():
    np.testing.assert_allclose(expectile_loss(jnp.array([2.0, 0.0, -2.0]), 0.7), [2.8, 0, 1.2])


# ------------------------------------------------------------------------------------------------- whole updates


@pytest.mark.parametrize("name", ["FBRAC", "ReBRAC"])
def test_updates_equal_adam_and_targets_that_lag(name):
    assert_updates(*make(name), c.sequence_batch(), clip=None)


def test_rebrac_moves_its_targets_at_every_second_update():
    agent, _ = make("ReBRAC")
    for network in ("critic", "actor"):
        assert [float(agent.target_rates(step)[network]) for step in (1, 2, 3, 4)] == [0, 0.005, 0, 0.005]


def test_dsrl_tracks_its_flow_beside_its_critic():
    agent, _ = make("DSRL")
    assert agent.target_rates(1) == {"critic": 0.005, "flow": 0.005}


# -------------------------------------------------------------------------------------------------- tuned values

# in the order of the benchmark's domains: antmaze large, giant; humanoidmaze medium, large; cube double, triple,
# quadruple; scene; puzzle 3x3, 4x4
TUNED = {
    (RQL, "alpha"): [0.1, 0.1, 0.3, 0.3, 10, 1, 1, 3, 1, 1],
    (RQL, "expectile"): [0.5, 0.5, 0.5, 0.5, 0.9, 0.9, 0.7, 0.7, 0.7, 0.9],
    (FQL, "alpha"): [3, 3, 30, 30, 300, 30, 100, 300, 300, 1],
    (IFQL, "expectile"): [0.9, 0.8, 0.7, 0.8, 0.9, 0.95, 0.95, 0.9, 0.95, 0.9],
    (ReBRAC, "alpha"): [0.01, 0.01, 0.01, 0.01, 0.01, 0.01, 0.01, 0.03, 0.1, 0.01],
    (ReBRAC, "actor_noise"): [0, 0, 0, 0.1, 0, 0.2, 0.2, 0, 0, 0.2],
    (FBRAC, "alpha"): [0.1, 0.1, 30, 10, 0.1, 0.03, 1, 100, 0.03, 0.3],
    (FAWAC, "inv_temp"): [6.4, 0.8, 6.4, 0.8, 0.8, 0.8, 0.8, 6.4, 0.8, 0.8],
    (DSRL, "noise_scale"): [0.8, 1.2, 0.6, 0.8, 1, 1.4, 1.4, 0.4, 1, 1],
    (FEdit, "edit_scale"): [0.2, 0.3, 0.5, 0.1, 0.2, 0.3, 0.4, 0.2, 0.2, 0.8],
}


@pytest.mark.parametrize(("cls", "field"), TUNED, ids=lambda value: getattr(value, "name", value))
def test_tuned_values_are_the_published_ones(cls, field):
    assert [values[field] for values in tuned_domains(cls).values()] == TUNED[cls, field]


def test_tfql_keeps_rqls_tuned_values():
    assert tuned_domains(TFQL) == tuned_domains(RQL)
