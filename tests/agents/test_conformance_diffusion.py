"""DAC and QSM: the authors' numbers, the schedule, validity as an exponent, and a whole update with joint clipping."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import yaml

import agents.bdpo
import agents.diffusion_ql  # noqa: F401
from agents.base import REGISTRY, numeric_fields
from agents.dac import DAC
from agents.diffusion import Schedule, StepEmbedding
from agents.qsm import QSM
from benchmark.planning.configure import configure
from benchmark.planning.tuned import TUNED
from tests.helpers import conformance as c

NUMBERS = {"critic": 1, "target critic": 2, "actor": c.noise_network}
CASES = {"DAC": (DAC, dict(alpha=3.0)), "QSM": (QSM, dict(alpha=10.0, inv_temp=3.0))}
TABLE = """
 1 0.05776447 0.94223553 0.94223553 0.240342
 2 0.14657704 0.85342296 0.80412544 0.382854
 3 0.22701837 0.77298163 0.62157419 0.476464
 4 0.29987753 0.70012247 0.43517806 0.547611
 5 0.36586918 0.63413082 0.27595982 0.604871
 6 0.42564063 0.57435937 0.15850011 0.652411
 7 0.47977819 0.52022181 0.08245521 0.692660
 8 0.52881289 0.47118711 0.03885183 0.727195
 9 0.57322571 0.42677429 0.01658096 0.757117
10 0.61345230 0.38654770 0.00640933 0.783232
"""


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def make(name, **settings):
    cls, tuned = CASES[name]
    return cls(cls.Config(**{**c.COMMON, "step_features": 8, **tuned, **settings}), c.O, c.D)


@pytest.mark.parametrize("name", CASES)
def test_loss_and_gradients_equal_the_authors(name):
    found = c.errors(
        make(name),
        NUMBERS,
        c.sequence_batch(),
        c.VECTORS[name],
        {"TD": "critic_loss", "L_BC": "cloning_loss", "L_A": "improvement_loss"},
        {"ε": "actor"},
    )
    assert max(found.values()) < c.PRECISION, found


def test_schedule_is_the_published_table():
    rows = np.array([line.split() for line in TABLE.strip().splitlines()], float)
    schedule = Schedule(10)
    np.testing.assert_allclose(1 - schedule.alpha[1:], rows[:, 1], atol=6e-9)
    np.testing.assert_allclose(schedule.alpha_bar[1:], rows[:, 3], atol=6e-9)
    np.testing.assert_allclose(schedule.forward_std[2:], rows[1:, 4], atol=6e-7)
    assert schedule.alpha[0] == schedule.alpha_bar[0] == 1
    assert schedule.forward_std[1] == schedule.posterior_std[1] == 0, "the last reverse step is deterministic"


def test_five_steps_have_the_published_variances():
    schedule = Schedule(5)
    np.testing.assert_allclose(1 - schedule.alpha[1:], [0.19587, 0.45882, 0.63578, 0.75488, 0.83503], atol=6e-6)
    np.testing.assert_allclose(schedule.alpha_bar[1:], [0.804125, 0.435178, 0.158500, 0.038852, 0.006409], atol=6e-7)
    np.testing.assert_allclose(schedule.posterior_std[1:] ** 2, [0, 0.15911, 0.42674, 0.66091, 0.80777], atol=6e-6)


def test_reverse_mean_is_the_gaussian_posterior():
    """Bayes: x_{k-1} given x_0 is N(√ᾱ_{k-1} x_0, 1 - ᾱ_{k-1}), x_k given x_{k-1} is N(√α_k x_{k-1}, 1 - α_k)."""
    schedule, x0, n = Schedule(5), jnp.array([[0.3, -0.8]]), jnp.array([[0.4, -1.1]])
    for step in range(2, 6):
        k = jnp.array([[step]])
        x = schedule.add_noise(x0, n, k)
        before, alpha = 1 - schedule.alpha_bar[step - 1], schedule.alpha[step]
        precision = 1 / before + alpha / (1 - alpha)
        mean = (jnp.sqrt(1 - before) * x0 / before + jnp.sqrt(alpha) * x / (1 - alpha)) / precision
        np.testing.assert_allclose(schedule.reverse_mean(x, n, k), mean, rtol=1e-12)
        np.testing.assert_allclose(schedule.posterior_std[step] ** 2, 1 / precision, rtol=1e-12)


def test_reverse_mean_clips_the_predicted_action():
    schedule, k = Schedule(5), jnp.array([[1]])
    np.testing.assert_array_equal(schedule.reverse_mean(jnp.array([[5.0, -5.0]]), jnp.zeros((1, 2)), k), [[1, -1]])


def test_fixed_frequencies_fall_from_1_to_a_ten_thousandth():
    module = StepEmbedding(8, (8,))
    params = {"mlp": {"dense_0": {"kernel": jnp.eye(8), "bias": jnp.zeros(8)}}}
    angles = 3.0 * np.array([1, 1e4 ** (-1 / 3), 1e4 ** (-2 / 3), 1e-4])
    features = module.apply({"params": params}, jnp.array([[3]]))[0]
    np.testing.assert_allclose(features, np.concatenate([np.cos(angles), np.sin(angles)]), rtol=1e-12)


@pytest.mark.parametrize("name", CASES)
def test_validity_is_an_exponent_without_undefined_gradients(name):
    """y^v: an invalid chunk counts 1 in the value and nothing in the gradient, whatever the sign of y."""
    agent = make(name)
    batch, state, noise = c.sequence_batch(), c.filled_state(agent, NUMBERS), c.fill_noise(agent.draws(c.B))
    rows = jnp.arange(c.B)

    def terms(actor, valid):
        train, target = agent.bind({"actor": actor}), agent.bind(state.targets)
        return jnp.stack(agent.actor_losses(train, target, batch._replace(valid=valid), noise))

    terms, jacobian = jax.jit(terms), jax.jit(jax.jacobian(terms))
    none, actor = jnp.zeros(c.B), state.params["actor"]
    alone = [(terms(actor, none.at[b].set(1)) - terms(actor, none)) * c.B + 1 for b in rows]
    np.testing.assert_allclose(terms(actor, none), [1, 1])
    assert all(not leaf.any() for leaf in jax.tree.leaves(jacobian(actor, none)))
    if name == "DAC":
        assert min(float(y[1]) for y in alone) < 0, "the test needs a negative base"
    np.testing.assert_allclose(terms(actor, batch.valid), jnp.mean(jnp.stack(alone) ** batch.valid[:, None], axis=0))
    assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(jacobian(actor, batch.valid)))


def test_update_clips_jointly_and_targets_lag():
    agent, batch = make("DAC"), c.sequence_batch()
    state = c.filled_state(agent, NUMBERS)

    @jax.jit
    def update_and_gradient(state):
        noise = agent.draw_noise(jax.random.fold_in(state.rng, 0), c.B)
        fixed, target = agent.bind(state.params), agent.bind(state.targets)
        gradient = jax.grad(lambda params: agent.loss(agent.bind(params), fixed, target, batch, noise)[0])
        return agent.update(state, batch)[0], gradient(state.params)

    after, gradient = update_and_gradient(state)
    norm = sum(float((g**2).sum()) for g in jax.tree.leaves(gradient)) ** 0.5
    assert norm > 1
    for new, old, g in zip(*map(jax.tree.leaves, (after.params, state.params, gradient)), strict=True):
        g = g / norm
        np.testing.assert_allclose(new, old - 3e-4 * g / (abs(g) + 1e-8), rtol=1e-9)
    lagged = jax.tree.map(lambda t, o: 0.995 * t + 0.005 * o, state.targets["critic"], state.params["critic"])
    jax.tree.map(np.testing.assert_allclose, after.targets["critic"], lagged)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("size", [1, 3])
def test_actions_are_chunks_within_bounds(name, size):
    agent = make(name)
    state = c.filled_state(agent, NUMBERS)
    s = c.sequence_batch().observations[:size] * 20
    act = jax.jit(agent.act)
    actions = act(state, s, jax.random.PRNGKey(0))
    assert actions.shape == (size, c.H, c.D)
    assert float(jnp.abs(actions).max()) <= 1
    assert not np.allclose(actions, act(state, s, jax.random.PRNGKey(1))), "acting is stochastic"


def test_qsm_renoises_the_predicted_action_and_clips():
    agent, k = make("QSM"), jnp.array([[2]])
    x, predicted, z = jnp.array([[0.2, 0.9]]), jnp.array([[0.5, -0.5]]), jnp.array([[0.1, 2.0]])
    bar, beta = 0.80412544, 0.14657704
    expected = (x - np.sqrt(1 - bar) * predicted) / np.sqrt(bar) + np.sqrt(beta) * z
    assert expected[0, 1] > 1
    np.testing.assert_allclose(agent.reverse_step(x, predicted, k, z), np.clip(expected, -1, 1), rtol=1e-7)


DOMAINS = [
    *("antmaze-large-navigate", "antmaze-giant-navigate", "humanoidmaze-medium-navigate"),
    *("humanoidmaze-large-navigate", "cube-double-play", "cube-triple-play", "cube-quadruple-play"),
    *("scene-play", "puzzle-3x3-play", "puzzle-4x4-play"),
]
PUBLISHED = {
    ("dac", "alpha"): [0.3, 0.3, 1, 0.3, 3, 0.3, 1, 1, 1, 1],
    ("qsm", "alpha"): [10, 10, 30, 30, 10, 10, 10, 30, 30, 1],
    ("qsm", "inv_temp"): [10, 10, 10, 10, 1, 10, 1, 3, 10, 10],
}


@pytest.mark.parametrize("name", ["dac", "qsm", "bdpo", "diffusion_ql"])
def test_tuned_files_configure_every_domain(name):
    tuned = yaml.safe_load((TUNED / f"{name}.yaml").read_text())
    assert list(tuned["domains"]) == DOMAINS
    assert tuned["published"] is (name in ("dac", "qsm")) and tuned["source"]
    for settings in tuned["domains"].values():
        configure(REGISTRY[name], settings)
    for key, values in tuned.get("grid", {}).items():
        assert all(settings[key] in values for settings in tuned["domains"].values() if key in settings)
        assert key in numeric_fields(REGISTRY[name].Config)


@pytest.mark.parametrize("name, key", PUBLISHED)
def test_tuned_values_are_the_published(name, key):
    domains = yaml.safe_load((TUNED / f"{name}.yaml").read_text())["domains"]
    assert [domains[domain][key] for domain in DOMAINS] == PUBLISHED[name, key]
