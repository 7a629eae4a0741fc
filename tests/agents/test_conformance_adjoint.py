"""QAM, QAM-F, QAM-E and BAM: the authors' numbers, the branches that these miss, and whole updates with clipping."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agents import adjoint
from agents.bam import BAM
from agents.qam import QAM, QAME, QAMF
from tests.helpers import conformance as c
from tests.helpers.references import assert_updates, tuned_domains

NUMBERS = {"critic": 1, "target critic": 2, "fast": 7, "slow": 8, "target slow": 9}
NUMBERS |= {"one_step": 6, "edit": c.tanh_normal, "temperature": None}
CASES = {
    "BAM": (BAM, dict(inv_temp=10.0)),
    "QAM": (QAM, dict(inv_temp=3.0)),
    "QAM-F": (QAMF, dict(inv_temp=3.0, fql_alpha=30.0)),
    "QAM-E": (QAME, dict(inv_temp=3.0, edit_scale=0.3)),
}
METRICS = {
    "TD": "critic_loss",
    "FM": "flow_loss",
    "BAM": lambda m: m["penalty_loss"] + m["q_loss"],
    "penalty": "penalty_loss",
    "L_AM": "adjoint_loss",
    "distill": "distillation_loss",
    "−Q": "q_loss",
    "entropy term": "entropy_loss",
    "α": "temperature_loss",
}
NETWORKS = {"one-step": "one_step", "λ": "temperature"}


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def make(name, **settings):
    cls, tuned = CASES[name]
    return cls(cls.Config(**{**c.COMMON, **tuned, **settings}), c.O, c.D)


@functools.cache
def filled_state(name):
    return c.filled_state(make(name), NUMBERS)


def shifted(tree, amount):
    """A vector field whose outputs are larger by `amount`, a scalar or (A,)."""
    last = {**tree["mlp"]["dense_2"], "bias": tree["mlp"]["dense_2"]["bias"] + amount}
    return {"mlp": {**tree["mlp"], "dense_2": last}}


@pytest.mark.parametrize("name", CASES)
def test_loss_and_gradients_equal_the_authors(name):
    found = c.errors(make(name), NUMBERS, c.sequence_batch(), c.VECTORS[name], METRICS, NETWORKS)
    assert max(found.values()) < c.PRECISION, found


def test_noise_scales_are_those_of_the_table():
    t, sigma = adjoint.schedule(10)
    table = [4.69041576, 3.16227766, 2.44948974, 2, 1.67332005, 1.41421356, 1.19522861, 1, 0.81649658, 0.63245553]
    np.testing.assert_allclose(sigma, table, rtol=1e-8)
    np.testing.assert_allclose(t, np.arange(10) / 10)


def test_adjoint_loss_vanishes_at_its_minimiser():
    rng = np.random.default_rng(0)
    states, adjoints = rng.normal(size=(2, 10, c.B, c.A))
    sigma = adjoint.schedule(10)[1]

    def base(x, t):
        return jnp.sin(3 * x) * t

    def fast(x, t):
        i = jnp.round(t[0, 0] * 10).astype(int)
        return base(x, t) - sigma[i] ** 2 / 2 * jnp.asarray(adjoints)[i]

    assert float(adjoint.matching_loss(fast, base, states, adjoints)) < 1e-20
    assert float(adjoint.matching_loss(base, base, states, adjoints)) > 1


def test_adjoint_loss_ignores_the_critics_slope_outside_the_box():
    """Step by step, with Jacobians in full, on a path that ends outside the box in some coordinates."""
    agent, state, batch = make("QAM"), filled_state("QAM"), c.sequence_batch()
    state = state.replace(targets=state.targets | {"slow": shifted(state.targets["slow"], jnp.arange(c.A) * 8.0)})
    noise, F, s = c.fill_noise(agent.draws(c.B)), 10, batch.observations
    fast = jax.jit(lambda x, t: agent.bind(state.params).fast(s, x, jnp.full((c.B, 1), t)))
    slow_of_one = lambda s, x, t: agent.bind(state.targets).slow(s, x, jnp.full((1,), t))  # noqa: E731
    slow = jax.jit(jax.vmap(slow_of_one, (0, 0, None)))
    jacobian = jax.jit(jax.vmap(jax.jacobian(slow_of_one, argnums=1), (0, 0, None)))
    slope = jax.jit(jax.grad(lambda a: agent.bind(state.targets).critic(s, a).mean(axis=0).sum()))

    x, states, sigmas = noise["path_start"], [], []
    for i in range(F):
        t, h = i / F, 1 / F
        sigmas.append(np.sqrt(2 * (1 - t + h) / (t + h)))
        states.append(x)
        if i < F - 1:
            x = x + h * (2 * fast(x, t) - x / (t + h)) + np.sqrt(h) * sigmas[i] * noise["path_noise"][i]
        else:
            x = x + h * slow(s, x, t)
    inside = np.abs(x) < 1
    assert 0.2 < inside.mean() < 0.8, "the case should exercise the clip"
    a = -3.0 * np.where(inside, slope(jnp.clip(x, -1, 1)), 0)
    expected = 0
    for i in reversed(range(F)):
        a = a + (2 * np.einsum("bij,bi->bj", jacobian(s, states[i], (i + 1) / F), a) - a * F / (i + 1)) / F
        error = 2 / sigmas[i] * (fast(states[i], i / F) - slow(s, states[i], i / F)) + sigmas[i] * a
        expected += (error**2).sum(axis=1).mean()
    online, target = agent.bind(state.params), agent.bind(state.targets)
    found = jax.jit(lambda noise: agent.fast_losses(online, online, target, batch, noise)["adjoint_loss"])(noise)
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_one_step_actions_are_clipped_for_the_critic_but_not_for_distillation():
    agent, batch = make("QAM-F"), c.sequence_batch()
    shift = jnp.array([0.0, 5, 0, -5, 0, 0])
    state = filled_state("QAM-F")
    state = state.replace(params=state.params | {"one_step": shifted(state.params["one_step"], shift)})
    noise = c.fill_noise(agent.draws(c.B))
    online, target, s, s_next = agent.bind(state.params), agent.bind(state.targets), batch[0], batch.next_observations

    a, a_next = online.one_step(s, noise["latent"]), online.one_step(s_next, noise["next_latent"])
    assert (jnp.abs(a[:, [1, 3]]) > 1).all() and (jnp.abs(a_next[:, [1, 3]]) > 1).all()
    teacher = jax.jit(lambda z: agent.fast_actions(online, s, z))(noise["latent"])
    next_values = target.critic(s_next, jnp.clip(a_next, -1, 1))
    y = batch.rewards + 0.99**c.H * batch.masks * (next_values.mean(0) - 0.5 * next_values.std(0))

    def losses(params):
        distillation, q_loss = agent.policy_losses(agent.bind(params), online, batch, noise)
        critic_loss = agent.critic_loss(online, online, target, batch, noise)
        return 30 * distillation + q_loss, (distillation, q_loss, critic_loss)

    (_, found), gradient = jax.jit(jax.value_and_grad(losses, has_aux=True))(state.params)
    expected = (
        ((a - teacher) ** 2).mean(),
        -online.critic(s, jnp.clip(a, -1, 1)).mean(),
        (batch.valid * (online.critic(s, batch.actions) - y) ** 2).mean(),
    )
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    # Only distillation moves the saturated coordinates.
    pull = 30 * 2 * (a - teacher).sum(axis=0) / (c.B * c.A)
    bias_gradient = gradient["one_step"]["mlp"]["dense_2"]["bias"]
    np.testing.assert_allclose(bias_gradient[jnp.array([1, 3])], pull[jnp.array([1, 3])], rtol=1e-9)
    assert abs(bias_gradient[0] - pull[0]) > 1e-4


@pytest.mark.parametrize(("name", "off"), [("QAM-F", "distill"), ("QAM-E", "edit")])
def test_extension_switched_off_is_exactly_qam(name, off):
    plain, agent, batch = make("QAM"), make(name, **{off: False}), c.sequence_batch()
    state = filled_state("QAM")
    assert agent.networks() == plain.networks()
    programs = [jax.make_jaxpr(a.update)(state, batch) for a in (plain, agent)]
    assert str(programs[0]) == str(programs[1])
    programs = [jax.make_jaxpr(a.act)(state, batch.observations, state.rng) for a in (plain, agent)]
    assert str(programs[0]) == str(programs[1])


@pytest.mark.parametrize(("name", "size"), [("QAM", 1), ("QAM-F", 3), ("QAM-E", 1), ("BAM", 3)])
def test_actions_are_chunks_within_bounds(name, size):
    act, s = jax.jit(make(name).act), c.sequence_batch().observations[:size] * 20
    actions, others = (act(filled_state(name), s, jax.random.PRNGKey(i)) for i in range(2))
    assert actions.shape == (size, c.H, c.D)
    assert float(jnp.abs(actions).max()) <= 1
    assert not np.allclose(actions, others), "acting is stochastic"


def test_updates_clip_the_joint_gradient_and_both_targets_lag():
    norms = assert_updates(make("QAM"), filled_state("QAM"), c.sequence_batch(), clip=1.0)
    assert min(norms) > 2, "the case should tell whether the gradient is clipped"
    assert all(cls.max_gradient_norm == 1 and cls.targets == QAM.targets for cls, _ in CASES.values())


def test_tuned_values_are_the_published_ones():
    assert [v["inv_temp"] for v in tuned_domains(QAM).values()] == [10, 3, 3, 3, 1, 3, 1, 1, 3, 30]
    assert [v["inv_temp"] for v in tuned_domains(BAM).values()] == [30, 30, 10, 30, 10, 30, 10, 10, 10, 30]
    distilled, edited = tuned_domains(QAMF), tuned_domains(QAME)
    assert distilled["humanoidmaze-large-navigate"] == {"inv_temp": 0.3, "fql_alpha": 30}
    assert edited["puzzle-4x4-play"] == {"inv_temp": 0.1, "edit_scale": 0.9}
    assert all(v.get("distill", True) == (v["fql_alpha"] > 0) for v in distilled.values())
    assert all(v.get("edit", True) == (v["edit_scale"] > 0) for v in edited.values())
