"""Value Flows: the authors' losses, gradients, updates and actions in float64, and what their numbers do not reach."""

import functools
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agents.value_flows import ValueFlows
from tests.agents.test_floq import VECTORS, whole_batch
from tests.helpers import conformance as c

NUMBERS = {"critic": 42, "target critic": 43, "flow": 4, "one_step": 6}
COMMON = dict(discount=0.99, chunk_length=1, batch_size=c.B, hidden=(8, 8), candidates=4)
CASES = {
    "value-flows": {},
    "value-flows-min": dict(return_by="min", score_by="min", bootstrap_weight=3.0, confidence=3.0, alpha=30.0)
    | dict(normalize_q=True),
    "value-flows-noclip": dict(clip_returns=False, clip_actions=False, field_weight=0.5, confidence=0.03, alpha=3.0),
}
RANGES = {"value-flows": (-3.0, 0.0)}
COMPONENTS = {
    "critic total (weighted)": "critic_loss",
    "mean weight": "weight",
    "BC": "flow_loss",
    "distill (without alpha)": "distillation_loss",
    "Q term": "q_loss",
}
LOGGED = 5
"""The place of the one array among those that the authors draw for a metric only that others come after."""


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def make(**settings) -> ValueFlows:
    return ValueFlows(ValueFlows.Config(**COMMON | settings), c.O, c.A)


def filled(agent):
    """The authors' noise."""
    draws = list(agent.draws(c.B).items())
    return {name: jnp.asarray(c.fill_draw(k + (k >= LOGGED), draw)) for k, (name, draw) in enumerate(draws)}


@functools.cache
def case(name):
    """Agent, state and noise of an entry."""
    agent = make(**CASES[name])
    data = SimpleNamespace(rewards=np.array(RANGES.get(name, (-0.01, 0.012))))
    return agent, c.filled_state(agent, NUMBERS, data), filled(agent)


@pytest.mark.parametrize("name", CASES)
def test_loss_and_gradients_equal_the_authors(name):
    agent, state, noise = case(name)
    entry = VECTORS[name]
    calls = [f"{k + (k >= LOGGED)}:{draw.law}{list(draw.shape)}" for k, draw in enumerate(agent.draws(c.B).values())]
    assert calls == [call for k, call in enumerate(entry["noise_calls"][:10]) if k != LOGGED]
    total, metrics, gradient = c.loss_and_gradient(agent, state, whole_batch(), noise)
    np.testing.assert_allclose(total, entry["total"], rtol=1e-10)
    for theirs, ours in COMPONENTS.items():
        np.testing.assert_allclose(metrics[ours], entry["components"][theirs], rtol=1e-9, err_msg=theirs)
    one_by_one = {
        **{name: (gradient[name], state.params[name]) for name in ("flow", "one_step")},
        **{f"critic_flow{e + 1}": member(e, gradient["critic"], state.params["critic"]) for e in (0, 1)},
        "critic_both": (gradient["critic"], state.params["critic"]),
    }
    assert set(one_by_one) == set(entry["g_theta"])
    for name, (g, theta) in one_by_one.items():
        np.testing.assert_allclose(c.inner_product(g, theta), entry["g_theta"][name], rtol=1e-9, err_msg=name)
        np.testing.assert_allclose(c.norm_of(g), entry["g_norm"][name], rtol=1e-9, err_msg=name)


def member(e, *trees):
    return tuple(jax.tree.map(lambda leaf: leaf[e], tree) for tree in trees)


@pytest.mark.parametrize("name", CASES)
def test_three_updates_equal_the_authors(name):
    agent, state, noise = case(name)
    begin, update = state, c.update_of(agent, noise, whole_batch())

    def theirs(state):
        yield "actor_flow", state.params["flow"]
        yield "actor_onestep_flow", state.params["one_step"]
        for e in (0, 1):
            yield f"critic_flow{e + 1}", member(e, state.params["critic"])[0]
            yield f"target_critic_flow{e + 1}", member(e, state.targets["critic"])[0]

    for expected in VECTORS[name]["updates"]:
        state, metrics = update(state)
        np.testing.assert_allclose(metrics["loss"], expected["loss_before"], rtol=1e-10)
        found = {name: c.sums(tree, dict(theirs(begin))[name]) for name, tree in theirs(state)}
        assert set(found) == set(expected["after"])
        for network, sums in expected["after"].items():
            np.testing.assert_allclose(found[network], sums, rtol=1e-10, err_msg=network)


@pytest.mark.parametrize("name", CASES)
def test_it_acts_as_the_authors_do(name, monkeypatch):
    agent, state, _ = case(name)
    filled = iter(range(9))
    monkeypatch.setattr(
        jax.random, "normal", lambda key, shape: c.fill_draw(next(filled), SimpleNamespace(law="normal", shape=shape))
    )
    s, rng = whole_batch().observations, jax.random.key(0)
    np.testing.assert_allclose(agent.act(state, s, rng)[:, 0], VECTORS[name]["act"]["actions"], rtol=1e-9)


@pytest.mark.parametrize("name", CASES)
def test_online_the_one_step_policy_acts_as_the_authors_has_it(name, monkeypatch):
    agent, state, _ = case(name)
    first = c.fill_draw(0, SimpleNamespace(law="normal", shape=(c.B, c.A)))
    shapes = {(c.B, 4, c.A): jnp.repeat(first[:, None], 4, axis=1), (c.B, 4, 1): jnp.zeros((c.B, 4, 1))}
    monkeypatch.setattr(jax.random, "normal", lambda key, shape: shapes[shape])
    s, rng = whole_batch().observations, jax.random.key(0)
    expected = VECTORS[name]["act"]["one_step_actions"]
    np.testing.assert_allclose(agent.act(agent.begin(state, "online"), s, rng)[:, 0], expected, rtol=1e-9)
    assert not np.allclose(agent.act(agent.begin(state, "training"), s, rng)[:, 0], expected)


def test_the_range_of_rewards_is_the_datas_own():
    facts = make().facts(SimpleNamespace(rewards=jnp.array([-1.0, -1.0])), None)
    assert facts["low"] == facts["high"] == -1, "what never solves the task has no 0"


def test_a_derivative_may_be_negative_and_counts_by_its_size():
    _, state, noise = case("value-flows-noclip")
    agent = make(**CASES["value-flows-noclip"], flow_steps=5)
    slopes = jnp.array([-11.0, -10.5])
    target = SimpleNamespace(critic=lambda z, t, s, a: slopes[:, None] * z.squeeze(-1))
    found = agent.weights(agent.bind(state.params, state.extra), target, whole_batch(), noise)
    ends = (1 + slopes / 5) ** 5
    assert (ends < 0).all()
    np.testing.assert_allclose(found, np.full(c.B, 1 / (1 + np.exp(0.03 / np.abs(ends).mean())) + 0.5), rtol=1e-12)


def test_where_returns_do_not_spread_a_transition_weighs_least():
    agent, state, noise = case("value-flows")
    target = SimpleNamespace(critic=lambda z, t, s, a: -10 * z.squeeze(-1))  # ten steps of it end at 0 exactly
    weights = agent.weights(agent.bind(state.params, state.extra), target, whole_batch(), noise)
    np.testing.assert_allclose(weights, 0.5)


def test_the_first_of_the_best_candidates_is_taken():
    agent, state, _ = case("value-flows")
    online = agent.bind(state.params, state.extra)
    online.critic = lambda z, t, s, a: jnp.full((2, *z.shape[:-1]), 5.0)  # all scores are clipped at 0
    latents = jax.random.normal(jax.random.key(1), (c.B, 4, c.A))
    s = whole_batch().observations
    best = agent.best_actions(online, s, latents, jnp.zeros((c.B, 4, 1)))
    np.testing.assert_allclose(best, agent.cloned_actions(online, s, latents[:, 0]), rtol=1e-12)


def test_a_chunk_is_discounted_as_a_whole_and_an_invalid_one_does_not_train_the_critics():
    agent, state, noise = case("value-flows")
    batch = whole_batch()._replace(valid=jnp.zeros(c.B))
    _, metrics, gradient = c.loss_and_gradient(agent, state, batch, noise)
    assert metrics["critic_loss"] == metrics["flow_loss"] == 0 == c.norm_of(gradient["critic"])
    assert c.norm_of(gradient["one_step"]) > 0
    longer = ValueFlows(ValueFlows.Config(**COMMON | dict(chunk_length=3)), c.O, 2)
    y = longer.td_target(whole_batch(), jnp.ones(c.B)) - whole_batch().rewards
    np.testing.assert_allclose(y, 0.99**3 * whole_batch().masks, rtol=1e-12)
