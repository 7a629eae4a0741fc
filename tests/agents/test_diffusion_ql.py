"""Diffusion-QL: gradients through the whole chain, the normalised Q, and the softmax choice among candidates."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agents.diffusion_ql import DiffusionQL, normalized_q_loss
from tests.helpers import conformance as c

K = 5
SETTINGS = {**c.COMMON, "ensemble": 2, "diffusion_steps": K, "eta": 0.7, "gradient_norm": 0.5}


def parts(number):
    """Fill the features of the step as network number + 1."""
    return lambda path: (number + (path[0] == "embedding"), int(path[-1].split("_")[1]))


@pytest.fixture(autouse=True, scope="module")
def float64():
    with jax.enable_x64(True):
        yield


@pytest.fixture(scope="module")
def agent():
    return DiffusionQL(DiffusionQL.Config(**SETTINGS), c.O, c.D)


@pytest.fixture(scope="module")
def state(agent):
    numbers = {"critic": 1, "target critic": 2, "actor": parts(30), "target actor": parts(32)}
    state = c.filled_state(agent, numbers)
    return state.replace(optimizer={n: adam.init(state.params[n]) for n, adam in agent.optimizers().items()})


def reverse_chain(actor, s, x, noise):
    """Hand-written, with a loop: `noise` holds ζ_K..ζ_1."""
    alphas = np.exp([0, *(-0.1 / K - 9.9 * (2 * i - 1) / (2 * K**2) for i in range(1, K + 1))])
    bars = np.cumprod(alphas)
    for k, z in zip(range(K, 0, -1), noise, strict=True):
        alpha, bar, before = alphas[k], bars[k], bars[k - 1]
        e = actor(s, x, jnp.full((*x.shape[:-1], 1), k))
        x0 = jnp.clip((x - np.sqrt(1 - bar) * e) / np.sqrt(bar), -1, 1)
        mean = (np.sqrt(before) * (1 - alpha) * x0 + np.sqrt(alpha) * (1 - before) * x) / (1 - bar)
        x = mean + np.sqrt((1 - alpha) * (1 - before) / (1 - bar)) * z
    return x


def test_chain_is_ddpm_with_the_posterior_variance(agent, state):
    s, noise = c.sequence_batch().observations, c.fill_noise(agent.draws(c.B))
    actor = agent.bind(state.params).actor
    found = agent.chain(actor, s, noise["latent"], noise["reverse_noise"])
    np.testing.assert_allclose(found, reverse_chain(actor, s, noise["latent"], noise["reverse_noise"]), rtol=1e-12)


def test_actor_is_trained_through_the_whole_chain(agent, state):
    """The gradient of the actor's loss equals finite differences, which one through the last step alone does not."""
    batch, noise = c.sequence_batch(), c.fill_noise(agent.draws(c.B))
    fixed = agent.bind(state.params)
    leaves, structure = jax.tree.flatten(state.params["actor"])
    rng = np.random.default_rng(0)
    directions = [jax.tree.unflatten(structure, [rng.normal(size=x.shape) for x in leaves]) for _ in range(3)]

    @jax.jit
    def loss(params):
        train = agent.bind({"actor": params})
        return agent.actor_loss(train, fixed, None, batch, noise)[1]["q_loss"]

    @jax.jit
    def last_step_loss(params):
        constant, actor = (
            agent.bind({"actor": jax.lax.stop_gradient(params)}).actor,
            agent.bind({"actor": params}).actor,
        )
        s, x = batch.observations, noise["latent"]
        action = reverse_chain(
            lambda s, x, k: jnp.where(k > 1, constant(s, x, k), actor(s, x, k)), s, x, noise["reverse_noise"]
        )
        return normalized_q_loss(fixed.critic(s, action), noise["coin"])

    def move(size, direction):
        return jax.tree.map(lambda x, d: x + size * d, state.params["actor"], direction)

    def slopes(gradient):
        return [
            sum(float((g * d).sum()) for g, d in zip(*map(jax.tree.leaves, (gradient, x)), strict=True))
            for x in directions
        ]

    # The denominator of the normalised Q is a constant in the gradient, so differences are taken of the numerator.
    q_loss, chosen = loss(state.params["actor"]), int(noise["coin"] >= 0.5)

    @jax.jit
    def frozen(params):
        s = batch.observations
        action = agent.chain(agent.bind({"actor": params}).actor, s, noise["latent"], noise["reverse_noise"])
        return -fixed.critic(s, action)[chosen].mean()

    scale = q_loss / frozen(state.params["actor"])
    differences = [scale * (frozen(move(1e-6, d)) - frozen(move(-1e-6, d))) / 2e-6 for d in directions]
    np.testing.assert_allclose(slopes(jax.grad(loss)(state.params["actor"])), differences, rtol=1e-6)
    np.testing.assert_allclose(last_step_loss(state.params["actor"]), q_loss, rtol=1e-12)
    assert not np.allclose(slopes(jax.grad(last_step_loss)(state.params["actor"])), differences, rtol=1e-2)


def test_actor_loss_is_cloning_plus_eta_q(agent, state):
    batch, noise = c.sequence_batch(), c.fill_noise(agent.draws(c.B))
    train = agent.bind(state.params)
    total, metrics = agent.actor_loss(train, train, None, batch, noise)
    bars = np.cumprod(np.exp([0, *(-0.1 / K - 9.9 * (2 * i - 1) / (2 * K**2) for i in range(1, K + 1))]))
    k, n = noise["step"], noise["noise"]
    bar = bars[np.asarray(k)]
    x = np.sqrt(bar) * batch.actions + np.sqrt(1 - bar) * n
    cloning = (((train.actor(batch.observations, x, k) - n) ** 2).mean(axis=1) * batch.valid).sum() / c.B
    np.testing.assert_allclose(metrics["cloning_loss"], cloning, rtol=1e-12)
    np.testing.assert_allclose(total, cloning + 0.7 * metrics["q_loss"], rtol=1e-12)


@pytest.mark.parametrize("coin, first, second", [(0.49, 0, 1), (0.51, 1, 0)])
def test_q_is_normalised_by_the_other_critic_as_a_constant(coin, first, second):
    q = jnp.array([[1.0, -3.0, 2.5], [-4.0, -6.0, 1.0]])
    denominator = np.abs(q[second]).mean()
    value, gradient = jax.value_and_grad(normalized_q_loss)(q, coin)
    np.testing.assert_allclose(value, -q[first].mean() / denominator)
    np.testing.assert_allclose(gradient[first], np.full(3, -1 / 3 / denominator))
    np.testing.assert_array_equal(gradient[second], np.zeros(3))


def test_updates_stay_finite_where_q_is_zero_everywhere(agent):
    """A LayerNorm over one unit is 0, and on invalid chunks the critics' last biases stay where they began."""
    agent = DiffusionQL(DiffusionQL.Config(**{**SETTINGS, "hidden": (1,)}), c.O, c.D)
    batch = c.sequence_batch()._replace(valid=jnp.zeros(c.B))
    after, metrics = jax.jit(lambda rng: agent.update(agent.init(rng), batch))(jax.random.PRNGKey(0))
    assert metrics["q_loss"] == 0
    assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves((after.params, metrics)))


@pytest.mark.parametrize("max_backup", [False, True])
def test_critic_target_is_the_smaller_of_each_critics_best(state, max_backup):
    agent = DiffusionQL(DiffusionQL.Config(**SETTINGS, max_backup=max_backup), c.O, c.D)
    batch, noise = c.sequence_batch(), c.fill_noise(agent.draws(c.B))
    target, online = agent.bind(state.targets), agent.bind(state.params)
    n = 10 if max_backup else 1
    assert noise["next_latent"].shape == (n, c.B, c.A)
    s = jnp.stack([batch.next_observations] * n)
    actions = reverse_chain(target.actor, s, noise["next_latent"], noise["next_noise"])
    q = np.stack([target.critic(batch.next_observations, a) for a in actions])
    y = batch.rewards + 0.99**c.H * batch.masks * q.max(axis=0).min(axis=0)
    errors = (online.critic(batch.observations, batch.actions) - y) ** 2
    found, _ = agent.critic_loss(online, None, target, batch, noise)
    np.testing.assert_allclose(found, (errors * batch.valid).sum() / c.B, rtol=1e-10)


def test_update_trains_the_critic_then_the_actor_on_the_new_critic(agent, state):
    batch = c.sequence_batch()

    @jax.jit
    def update_and_gradients(state):
        after, metrics = agent.update(state, batch)
        noise = agent.draw_noise(jax.random.fold_in(state.rng, state.step), c.B)
        target = agent.bind(state.targets)

        def gradient(name, fixed):
            loss = getattr(agent, f"{name}_loss")
            return jax.grad(lambda p: loss(agent.bind({name: p}), fixed, target, batch, noise)[0])(state.params[name])

        return after, metrics, {name: gradient(name, agent.bind(after.params)) for name in ("critic", "actor")}

    for step, rate in ((0, 0), (999, 0), (1000, 0.005), (1001, 0), (1005, 0.005)):
        before = state.replace(step=jnp.asarray(step))
        after, metrics, gradients = update_and_gradients(before)
        assert int(after.step) == step + 1
        assert {"critic_loss", "actor_loss", "cloning_loss", "q_loss"} <= set(metrics)
        for name, gradient in gradients.items():
            norm = sum(float((g**2).sum()) for g in jax.tree.leaves(gradient)) ** 0.5
            share = 0.005 if name == "critic" else rate
            trees = (before.params[name], before.targets[name], after.params[name], after.targets[name], gradient)
            for o, t, p, q, g in zip(*map(jax.tree.leaves, trees), strict=True):
                g = g * min(1, 0.5 / norm)
                np.testing.assert_allclose(p, o - 3e-4 * g / (abs(g) + 1e-8), rtol=1e-7, atol=1e-11)
                np.testing.assert_allclose(q, (1 - share) * t + share * p, rtol=1e-12)


def test_acting_returns_chunks_within_bounds(agent, state):
    s, key = c.sequence_batch().observations[:3] * 20, jax.random.PRNGKey(0)
    actions = jax.jit(agent.act)(state, s, key)
    assert actions.shape == (3, c.H, c.D)
    assert jax.eval_shape(agent.act, state, s[:1], key).shape == (1, c.H, c.D)
    assert float(jnp.abs(actions).max()) <= 1


def test_acting_draws_50_candidates_with_the_softmax_of_the_smaller_target(agent, state, monkeypatch):
    """Frequencies of four candidates' actions over many keys equal softmax(min_e Q̄), not the argmax."""
    assert agent.config.candidates == 50
    agent = DiffusionQL(DiffusionQL.Config(**SETTINGS, candidates=4), c.O, c.D)
    levels = jnp.array([-0.6, -0.2, 0.2, 0.6])
    monkeypatch.setattr(
        DiffusionQL, "chain", lambda self, actor, s, x, z: jnp.broadcast_to(levels[:, None, None], x.shape)
    )
    target = agent.bind(state.targets)
    target.critic = lambda s, a: jnp.stack([a[..., 0] * 2, a[..., 0] + 0.5])
    s = c.sequence_batch().observations[:2]
    keys = jax.random.split(jax.random.PRNGKey(0), 20_000)
    actions = jax.jit(jax.vmap(lambda key: agent.sample_actions(agent.bind(state.params), target, s, key)))(keys)
    weights = np.exp(np.minimum(np.asarray(levels) * 2, np.asarray(levels) + 0.5))
    for b in range(2):
        frequencies = [(np.isclose(actions[:, b, 0], level)).mean() for level in levels]
        np.testing.assert_allclose(frequencies, weights / weights.sum(), atol=0.015)


def test_config_keeps_two_critics():
    assert DiffusionQL.Config().ensemble == 2
