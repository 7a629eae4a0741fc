"""BDPO: the penalty is the Gaussian KL, the actor learns through one denoising step only, and in a fixed pattern."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agents.bdpo import BDPO, gaussian_kl
from agents.diffusion import Schedule
from benchmark.planning.plan import plan
from benchmark.planning.protocols import PROTOCOLS
from benchmark.planning.run import Run
from benchmark.planning.suites import SUITES
from benchmark.runs.protocol import Online
from benchmark.train import parse
from envs.tasks import get_task
from tests.helpers import conformance as c
from tests.helpers.references import tuned_domains

K, N = 5, 3
SETTINGS = dict(
    **c.COMMON, diffusion_steps=K, candidates=N, eta=0.7, critic_warmup=3, pretraining_steps=4, actor_every=3
)


@pytest.fixture(autouse=True, scope="module")
def float64():
    with jax.enable_x64(True):
        yield


@pytest.fixture(scope="module")
def agent():
    return BDPO(BDPO.Config(**SETTINGS), c.O, c.D)


def parts(number):
    """Fill the features of the step as network number + 1."""
    return lambda path: (number + (path[0] in ("embedding", "step")), int(path[-1].split("_")[1]))


@pytest.fixture(scope="module")
def state(agent):
    """A state in which no two networks are equal."""
    names = ("critic", "value", "behaviour", "actor", *(f"target {name}" for name in agent.targets))
    state = c.filled_state(agent, {name: parts(30 + 2 * i) for i, name in enumerate(names)})
    return state.replace(optimizer={n: adam.init(state.params[n]) for n, adam in agent.optimizers().items()})


@pytest.fixture(scope="module")
def updated(agent, state):
    """The states after one update of each kind, from the same state."""
    batch = c.sequence_batch()
    kinds = ("pretrain", "update_critics", "update")
    return jax.jit(lambda state: {kind: getattr(agent, kind)(state, batch) for kind in kinds})(state)


def test_penalty_weights_are_the_published_table():
    found = gaussian_kl(Schedule(5), jnp.ones((5, 1)), jnp.zeros((5, 1)), jnp.arange(1, 6)[:, None])
    np.testing.assert_allclose(found, [0.6218, 0.7505, 1.0372, 1.6020, 2.5472], atol=6e-5)
    found = gaussian_kl(Schedule(10), jnp.ones((10, 1)), jnp.zeros((10, 1)), jnp.arange(1, 11)[:, None])
    table = [0.531, 0.438, 0.388, 0.379, 0.398, 0.440, 0.503, 0.584, 0.683, 0.799]
    np.testing.assert_allclose(found, table, atol=6e-4)


@pytest.mark.parametrize("step", range(1, K + 1))
def test_penalty_is_the_kl_of_the_two_reverse_steps(step):
    """N(μ, β I) against N(μ', β I), with the means of small predicted actions, which nothing clips."""
    schedule, k = Schedule(K), jnp.full((4, 1), step)
    rng = np.random.default_rng(step)
    x0, n, shift = rng.uniform(-0.1, 0.1, (4, 3)), rng.normal(size=(4, 3)), rng.normal(size=(4, 3)) * 1e-3
    x = schedule.add_noise(x0, n, k)
    means = [schedule.reverse_mean(x, predicted, k) for predicted in (n, n + shift)]
    kl = ((means[0] - means[1]) ** 2).sum(axis=-1) / (2 * (1 - schedule.alpha[step]))
    np.testing.assert_allclose(gaussian_kl(schedule, n, n + shift, k), kl, rtol=1e-9)


def value_of_one_step(agent, state, actor, x, k, z):
    """Hand-written: the value (B,) of one reverse step from x_k; k is a numpy array."""
    target, s = agent.bind(state.targets), c.sequence_batch().observations
    alphas = np.exp([0, *(-0.1 / K - 9.9 * (2 * i - 1) / (2 * K**2) for i in range(1, K + 1))])
    alpha, bar, before = alphas[k], np.cumprod(alphas)[k], np.cumprod(alphas)[k - 1]
    e, e_data = actor(s, x, k), target.behaviour(s, x, k)
    x0 = jnp.clip((x - np.sqrt(1 - bar) * e) / np.sqrt(bar), -1, 1)
    mean = (np.sqrt(before) * (1 - alpha) * x0 + np.sqrt(alpha) * (1 - before) * x) / (1 - bar)
    last, others = np.flatnonzero(k[:, 0] == 1), np.flatnonzero(k[:, 0] > 1)
    complete = target.critic(s[last], mean[last])
    partial = 0
    for n in range(N):
        after = mean[others] + np.sqrt(1 - alpha[others]) * z[n][others]
        partial += target.value(s[others], after, k[others] - 1) / N
    q = jnp.concatenate([complete, partial], axis=1)[:, np.argsort(np.concatenate([last, others]))]
    kl = (1 - alpha) / (2 * alpha * (1 - bar)) * (e - e_data) ** 2
    return q.mean(axis=0) - 0.5 * jnp.sqrt(((q - q.mean(axis=0)) ** 2).mean(axis=0)) - 0.7 * kl.sum(axis=1)


def test_value_and_actor_losses_are_one_step_without_the_chain(agent, state, monkeypatch):
    """Value and gradient equal those of one hand-written reverse step, and the chain is never run."""
    batch, noise = c.sequence_batch(), c.fill_noise(agent.draws(c.B))
    noise["actor_step"] = noise["value_step"] = k = np.array([[1], [2], [3], [4], [5], [1]])
    target = agent.bind(state.targets)

    def chain(*_):
        raise AssertionError("the actor is not trained through the chain")

    monkeypatch.setattr(BDPO, "chain", chain)

    def loss(params):
        return agent.actor_loss(agent.bind({"actor": params}), None, target, batch, noise)[0]

    def by_hand(params):
        actor = agent.bind({"actor": params}).actor
        x = Schedule(K).add_noise(batch.actions, noise["actor_noise"], k)
        values = value_of_one_step(agent, state, actor, x, k, noise["actor_reverse_noise"])
        return -(batch.valid * values).sum() / c.B

    found, gradient = jax.jit(jax.value_and_grad(loss))(state.params["actor"])
    expected, expected_gradient = jax.jit(jax.value_and_grad(by_hand))(state.params["actor"])
    np.testing.assert_allclose(found, expected, rtol=1e-10)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-12), gradient, expected_gradient)

    x = Schedule(K).add_noise(batch.actions, noise["value_noise"], k)

    @jax.jit
    def value_losses():
        y = value_of_one_step(agent, state, target.actor, x, k, noise["value_reverse_noise"])
        online = agent.bind(state.params)
        errors = (online.value(batch.observations, x, k) - y) ** 2
        return errors, agent.value_loss(online, None, target, batch, noise)[0]

    errors, found = value_losses()
    np.testing.assert_allclose(found, (errors * batch.valid).sum() / (3 * c.B), rtol=1e-10)


@pytest.mark.parametrize("max_backup", [True, False])
def test_critic_target_has_the_penalty_within_discount_and_mask(state, max_backup):
    agent = BDPO(BDPO.Config(**SETTINGS, max_backup=max_backup), c.O, c.D)
    batch, noise, schedule = c.sequence_batch(), c.fill_noise(agent.draws(c.B)), Schedule(K)
    target, online = agent.bind(state.targets), agent.bind(state.params)
    q, penalty = [], 0
    for n in range(N):
        x, s = noise["next_latent"][n], batch.next_observations
        for i, step in enumerate(range(K, 0, -1)):
            k = jnp.full((c.B, 1), step)
            e = target.actor(s, x, k)
            weight = (1 - schedule.alpha[step]) / (2 * schedule.alpha[step] * (1 - schedule.alpha_bar[step]))
            penalty += weight * ((e - target.behaviour(s, x, k)) ** 2).sum(axis=-1) / N
            std = jnp.sqrt(1 - schedule.alpha[step]) if step > 1 else 0
            x = schedule.reverse_mean(x, e, k) + std * noise["next_noise"][i][n]
        q.append(target.critic(s, x))
    q = np.max(q, axis=0) if max_backup else np.mean(q, axis=0)
    value = q.mean(axis=0) - 0.5 * q.std(axis=0) - 0.7 * penalty
    y = batch.rewards + 0.99**c.H * batch.masks * value
    errors = (online.critic(batch.observations, batch.actions) - y) ** 2
    found, _ = jax.jit(lambda: agent.critic_loss(online, None, target, batch, noise))()
    np.testing.assert_allclose(found, (errors * batch.valid).sum() / (3 * c.B), rtol=1e-10)


def test_behaviour_loss_is_the_error_of_the_noise(agent, state):
    batch, noise = c.sequence_batch(), c.fill_noise(agent.draws(c.B))
    online, bar = agent.bind(state.params), Schedule(K).alpha_bar[noise["behaviour_step"]]
    n = noise["behaviour_noise"]
    x = np.sqrt(bar) * batch.actions + np.sqrt(1 - bar) * n
    error = (online.behaviour(batch.observations, x, noise["behaviour_step"]) - n) ** 2
    found, _ = agent.behaviour_loss(online, None, None, batch, noise)
    np.testing.assert_allclose(found, (error.mean(axis=1) * batch.valid).sum() / c.B, rtol=1e-12)


def changed(before, after):
    """Names of the networks that differ."""
    return {
        name
        for name in before
        if any((x != y).any() for x, y in zip(*map(jax.tree.leaves, (before[name], after[name])), strict=True))
    }


def test_each_kind_of_update_trains_its_own_networks(state, updated):
    trained = {"pretrain": {"behaviour"}, "update_critics": {"critic", "value"}, "update": set(state.params)}
    for kind, names in trained.items():
        after, metrics = updated[kind]
        copies = {"actor"} if kind == "pretrain" else set()
        assert changed(state.params, after.params) == changed(state.targets, after.targets) == names | copies
        assert changed(state.optimizer, after.optimizer) == names, "the others' optimisers do not move"
        assert {f"{name}_loss" for name in names} <= set(metrics) and all(map(jnp.isfinite, metrics.values()))
        assert int(after.step) == 1


def test_pretraining_leaves_the_actor_equal_to_the_averaged_behaviour_policy(updated):
    after, _ = updated["pretrain"]
    for actor in (after.params["actor"], after.targets["actor"]):
        jax.tree.map(np.testing.assert_array_equal, actor, after.targets["behaviour"])


def test_full_update_is_adam_with_each_networks_own_rate_and_clipping(agent, state, updated):
    """Critics first; the actor sees their new targets; targets track the new parameters."""
    batch, noise = c.sequence_batch(), agent.draw_noise(jax.random.fold_in(state.rng, 0), c.B)
    after, _ = updated["update"]
    critics, _ = updated["update_critics"]
    rates = dict(critic=3e-4, value=3e-4, behaviour=3e-4, actor=1e-5)

    @jax.jit
    def gradients(targets):
        fixed, target = agent.bind(state.params), agent.bind(targets)
        losses = {name: getattr(agent, f"{name}_loss") for name in rates}
        return {
            name: jax.grad(lambda p, f=f, n=name: f(agent.bind({n: p}), fixed, target, batch, noise)[0])(
                state.params[name]
            )
            for name, f in losses.items()
        }

    early, late = gradients(state.targets), gradients(critics.targets)
    for name, rate in rates.items():
        gradient = (early if name in ("critic", "value") else late)[name]
        norm = sum(float((g**2).sum()) for g in jax.tree.leaves(gradient)) ** 0.5
        trees = (state.params[name], state.targets[name], after.params[name], after.targets[name], gradient)
        for o, t, p, q, g in zip(*map(jax.tree.leaves, trees), strict=True):
            g = g / max(norm, 1)
            np.testing.assert_allclose(p, o - rate * g / (abs(g) + 1e-8), rtol=1e-8, atol=1e-12)
            np.testing.assert_allclose(q, 0.995 * t + 0.005 * p, rtol=1e-12)


def test_cycle_is_cloning_then_critics_then_a_fixed_pattern(agent):
    found, step = [], 0
    while len(found) < 13:
        names, end = agent.cycle(step)
        count = len(names) if end is None else end - step
        found += [names[i % len(names)] for i in range(count)]
        step += count
    critics = "update_critics"
    assert found == ["pretrain"] * 4 + [critics] * 3 + [critics, critics, "update"] * 2
    assert agent.pretraining_steps == 4
    assert agent.cycle(8)[0] == (critics, "update", critics), "the pattern does not depend on where a segment starts"


@pytest.mark.parametrize("decay_steps, end", [(0, 1.0), (4, 0.0)])
def test_learning_rates_are_constant_or_decay_by_a_cosine(decay_steps, end):
    agent = BDPO(BDPO.Config(**SETTINGS, decay_steps=decay_steps), c.O, c.D)
    gradient = jnp.full(1, 1e-3)
    for name, rate in dict(critic=3e-4, value=3e-4, actor=1e-5, behaviour=3e-4).items():
        adam, steps = agent.optimizers()[name], []
        memory = adam.init(gradient)
        for _ in range(5):
            step, memory = adam.update(gradient, memory)
            steps.append(-float(step[0]) / rate)
        half, last = (1, 1) if name == "behaviour" else ((1 + end) / 2, end)
        np.testing.assert_allclose([steps[0], steps[2], steps[4]], [1, half, last], atol=2e-5)


def planned(**changes):
    """What config.json says of the hyperparameters of a planned run."""
    task = get_task("antmaze-large-navigate-singletask-task1-v0")
    words = dict(agents=["bdpo"], tasks=[task], seeds=[0], protocol=PROTOCOLS["rql"], out="runs") | changes
    (run,) = plan(SUITES["ogbench"], **words)
    return Run(run).config["hyperparameters"]


def test_learning_rates_decay_over_the_length_of_the_run_unless_they_are_set():
    assert planned()["decay_steps"] == 1_000_000
    assert planned(protocol=PROTOCOLS["rql"].scaled_to(2_000_000))["decay_steps"] == 2_000_000
    assert planned(online=Online(500_000, start=5_000))["decay_steps"] == 1_495_000, "no rate is 0 before the end"
    assert planned(settings={"decay_steps": "7"})["decay_steps"] == 7
    assert planned(settings={"decay_steps": "0"})["decay_steps"] == 0
    alone = parse(["--agent=bdpo", "--task=scene-play-singletask-task1-v0", "--steps=3000"])
    assert Run(alone).config["hyperparameters"]["decay_steps"] == 3000


def test_mazes_have_the_pessimism_and_the_cloning_rate_of_the_authors_antmaze_runs():
    assert (planned()["pessimism"], planned()["behaviour_learning_rate"]) == (0.8, 1e-4)
    for domain, values in tuned_domains(BDPO).items():
        maze = {"pessimism": 0.8, "behaviour_learning_rate": 1e-4} if "maze" in domain else {}
        assert values == {"eta": values["eta"], **maze}


def test_acting_takes_the_best_candidate_by_the_mean_target(agent, state):
    s, key = c.sequence_batch().observations[:3], jax.random.PRNGKey(3)
    target = agent.bind(state.targets)

    @jax.jit
    def act_and_candidates(s):
        noise = jax.random.normal(key, (K + 1, N, 3, c.A))
        return agent.act(state, s, key), agent.chain(target, jnp.stack([s] * N), noise[0], noise[1:])[0]

    actions, candidates = act_and_candidates(s)
    assert actions.shape == (3, c.H, c.D) and float(jnp.abs(actions).max()) <= 1
    assert jax.eval_shape(agent.act, state, s[:1], key).shape == (1, c.H, c.D)
    scores = np.stack([target.critic(s, candidate).mean(axis=0) for candidate in candidates])
    expected = np.stack([candidates[scores[:, b].argmax(), b] for b in range(3)])
    np.testing.assert_allclose(actions.reshape(3, -1), expected, rtol=1e-10)
