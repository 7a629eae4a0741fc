"""floq: the authors' losses, gradients, updates and actions in float64, and what their numbers do not reach."""

import functools
import json
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agents.floq import FloQ
from tests.helpers import conformance as c

VECTORS = json.loads((Path(__file__).parents[1] / "data" / "conformance_floq_value_flows.json").read_text())
NUMBERS = {"velocity": 40, "target velocity": 41, "critic": 1, "flow": 4, "one_step": 6}
COMMON = dict(discount=0.99, chunk_length=1, batch_size=c.B, hidden=(8, 8), ensemble=3, learning_rate=3e-4)
CASES = {
    "floq": dict(noise_samples=3),
    "floq-min": dict(noise_samples=3, critic_steps=4, noise_coverage=0.25, aggregate="min", normalize_q=True),
    "floq-scalar": dict(noise_samples=2, code_returns=False, time_code="raw"),
    "floq-stress": dict(noise_samples=3),
}
METRICS = {
    "critic total": "critic_loss",
    "BC": "flow_loss",
    "distill (without alpha)": "distillation_loss",
    "Q term": "q_loss",
    "actor total": lambda m: m["flow_loss"] + 10 * m["distillation_loss"] + m["q_loss"],
}
DATA = SimpleNamespace(rewards=np.array([-1.0, -3.0, -2.0]))
"""Whose range is -3 to 0, as the authors' buffer has it."""


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def whole_batch():
    return c.sequence_batch()._replace(valid=jnp.ones(c.B))


def make(**settings) -> FloQ:
    return FloQ(FloQ.Config(**COMMON | settings), c.O, c.A)


def scaled(tree, factor):
    return jax.tree_util.tree_map_with_path(lambda path, x: factor * x if path[-1].key == "kernel" else x, tree)


@functools.cache
def case(name):
    """Agent, state and noise of an entry."""
    agent = make(**CASES[name])
    state, noise = c.filled_state(agent, NUMBERS, DATA), c.fill_noise(agent.draws(c.B))
    if name == "floq-stress":
        state = state.replace(params=scaled(state.params, 2), targets=scaled(state.targets, 2))
        laws = {key: draw.law for key, draw in agent.draws(c.B).items()}
        noise = {key: 1.5 * array if laws[key] == "normal" else array for key, array in noise.items()}
    return agent, state, noise


@pytest.mark.parametrize("name", CASES)
def test_loss_and_gradients_equal_the_authors(name):
    agent, state, noise = case(name)
    calls = [f"{k}:{draw.law}{list(draw.shape)}" for k, draw in enumerate(agent.draws(c.B).values())]
    assert calls == VECTORS[name]["noise_calls"][:7], "the eighth is theirs for a metric"
    parts = dict(VECTORS[name]["components"])
    expected = {**VECTORS[name], "components": parts}
    velocity, distilled = parts.pop("velocity (sum over R, mean over E,B)"), parts.pop("distilled critic")
    found = c.errors(agent, NUMBERS, whole_batch(), expected, METRICS, {}, state=state, noise=noise)
    assert max(found.values()) < c.PRECISION, found
    networks = agent.bind(state.params, state.extra), agent.bind(state.targets)
    losses = jax.jit(lambda: agent.velocity_loss(networks[0], *networks, whole_batch(), noise))()
    np.testing.assert_allclose(losses, velocity, rtol=1e-9)
    losses = jax.jit(lambda: agent.distilled_loss(networks[0], networks[0], whole_batch(), noise))()
    np.testing.assert_allclose(losses, distilled, rtol=1e-9)


THEIRS = {"actor_bc_flow": "flow", "actor_onestep_flow": "one_step", "floq": "velocity"}


@pytest.mark.parametrize("name", ["floq", "floq-min", "floq-scalar"])
def test_three_updates_equal_the_authors(name):
    agent, state, noise = case(name)
    begin, update = state, c.update_of(agent, noise, whole_batch())

    for expected in VECTORS[name]["updates"]:
        state, metrics = update(state)
        np.testing.assert_allclose(metrics["loss"], expected["loss_before"], rtol=1e-10)
        for network, sums in expected["after"].items():
            kind, plain = ("targets", network[7:]) if network.startswith("target_") else ("params", network)
            plain = THEIRS.get(plain, plain)
            np.testing.assert_allclose(
                c.sums(getattr(state, kind)[plain], getattr(begin, kind)[plain]), sums, rtol=1e-10, err_msg=network
            )


@pytest.mark.parametrize("name", ["floq", "floq-min", "floq-scalar"])
def test_it_acts_as_the_authors_do(name, monkeypatch):
    agent, state, _ = case(name)
    monkeypatch.setattr(
        jax.random, "normal", lambda key, shape: c.fill_draw(0, SimpleNamespace(law="normal", shape=shape))
    )
    actions = agent.act(state, whole_batch().observations, None)[:, 0]
    np.testing.assert_allclose(actions, VECTORS[name]["act"]["actions"], rtol=1e-9)


def test_the_range_of_rewards_has_zero_in_it():
    for rewards, low, high in (([-3, -1], -3, 0), ([2, 5], 0, 5), ([-1, 1], -1, 1)):
        facts = make().facts(SimpleNamespace(rewards=jnp.array(rewards)), None)
        assert (facts["low"], facts["high"]) == (low, high)


def test_a_return_is_coded_as_the_authors_do():
    """Their numbers for rewards from -1 to 0 and γ = 0.99, with bins from -101 to 1."""
    facts = SimpleNamespace(low=jnp.array(-1.0), high=jnp.array(0.0))
    codes = make().coded(facts, jnp.array([[-10.0], [0.0]]))
    assert codes.shape == (2, 50)
    np.testing.assert_allclose(codes.sum(-1), 1, rtol=1e-12)
    np.testing.assert_allclose(
        codes[:, jnp.array([0, 25, 49])],
        [[0.000887498, 0.019420907, 0.037806974], [0.000448068, 0.015822603, 0.048763992]],
        atol=5e-10,
    )
    assert codes[0].argmax() == 44
    far = make().coded(facts, jnp.array([[1e6], [-1e6]]))
    assert jnp.isfinite(far).all(), "a return that no bin is near has a code"
    np.testing.assert_allclose(make(code_returns=False).coded(facts, jnp.array([[-50.0]])), 51 / 102)


def test_time_enters_as_one_cosine_or_as_64_or_raw():
    t = jnp.array([[0.0], [0.3]])
    np.testing.assert_allclose(make().clock(t), np.cos(t))
    np.testing.assert_allclose(make(time_code="raw").clock(t), t)
    agent = make(time_code="fourier")
    np.testing.assert_allclose(agent.clock(t), np.cos(np.pi * np.arange(1, 65) * np.asarray(t)), atol=1e-12)
    kernel = jax.eval_shape(lambda: agent.init(jax.random.key(0), DATA)).params["velocity"]["mlp"]["dense_0"]["kernel"]
    assert kernel.shape == (3, c.O + c.A + 50 + 64, 8)


def test_the_velocity_may_have_widths_of_its_own():
    agent = make(velocity_hidden=(5,))
    params = jax.eval_shape(lambda: agent.init(jax.random.key(0), DATA)).params
    assert params["velocity"]["mlp"]["dense_0"]["kernel"].shape[-1] == 5
    assert params["critic"]["mlp"]["dense_0"]["kernel"].shape[-1] == 8


def test_an_invalid_chunk_trains_the_critics_and_the_clone_no_more_but_the_policy():
    agent, state, noise = case("floq")
    batch = whole_batch()._replace(valid=jnp.zeros(c.B))
    _, metrics, gradient = c.loss_and_gradient(agent, state, batch, noise)
    assert metrics["critic_loss"] == metrics["flow_loss"] == 0
    assert {name: c.norm_of(g) > 0 for name, g in gradient.items()} == {
        **dict(critic=False, flow=False, velocity=False),
        "one_step": True,
    }


def test_each_member_carries_a_return_of_its_own():
    """Alone, with the same parameters, a member ends where it ends beside the others."""
    agent, state, noise = case("floq")
    alone = make(ensemble=1, noise_samples=3)
    batch, start = whole_batch(), noise["start"][: c.B] - 2

    def ends(agent, params):
        networks = agent.bind(params, state.extra)
        return agent.ends(networks.velocity, networks, batch.observations, batch.actions, start)

    together = ends(agent, state.params)
    for e in range(3):
        own = {"velocity": jax.tree.map(lambda leaf, e=e: leaf[e : e + 1], state.params["velocity"])}
        np.testing.assert_allclose(ends(alone, own)[0], together[e], rtol=1e-12)
