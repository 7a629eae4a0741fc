"""FAN, QGF and TRQAM equal their authors' numbers in float64: losses, gradients, whole updates, acting.

The vectors say which random array is which (`noise_calls`); "stress" ones have larger kernels and noise, so that clips
are reached.
"""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agents.base import normal
from agents.fan import FAN
from agents.qgf import FREQUENCIES, QGF, time_features
from agents.trqam import TRQAM
from tests.helpers import conformance as c

VECTORS = json.loads((Path(__file__).parents[1] / "data" / "conformance_g2_trqam_qgf_fan.json").read_text())
PRETRAINING = "TRQAM bc_only"
CASES = {
    name: VECTORS[name]
    for name in VECTORS
    if "total" in VECTORS[name] and "NOT official" not in name and name != PRETRAINING
}
NUMBERS = {
    FAN: {"critic": 1, "target critic": 2, "upper": 30, "flow": 4, "one_step": 6},
    QGF: {"value": 3, "critic": 1, "target critic": 2, "flow": 4},
    TRQAM: {"critic": 1, "target critic": 2, "fast": 7, "slow": 8, "target slow": 9},
}
NETWORKS: dict = {FAN: {"Z": "upper"}, QGF: {"policy": "flow"}, TRQAM: {}}
METRICS = {
    FAN: {
        "TD": "critic_loss",
        "Z": "upper_loss",
        "FM": "flow_loss",
        "anchor": "anchor_loss",
        "Q_term": "q_loss",
        "Z_term": "z_loss",
        "R_next": "next_mismatch",
    },
    QGF: {"TD": "critic_loss", "FM": "flow_loss", "V": "value_loss"},
    TRQAM: {"TD": "critic_loss", "FM": "flow_loss", "L_AM": "adjoint_loss", "path_KL": "path_kl"},
}
OURS = {"denoised_action_approx": "guess", "apply_jacobian": "guess"}
OURS |= {"best_of_n": "candidates", "actor_layer_norm": "flow_layer_norm"}
NO_SETTINGS = ("lam", "kl_ema", "bc_only")
"""Of TRQAM's vectors: its state, and its phase."""
VALUES = {("guess", "noisy"): "noisy", ("guess", True): "jacobian"}


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def make(name, **settings):
    """The agent of a vector, with its settings."""
    cls = {"FAN": FAN, "QGF": QGF, "TRQAM": TRQAM}[name.split()[0].split("-")[0]]
    given = {OURS.get(key, key): value for key, value in VECTORS[name]["settings"].items() if key not in NO_SETTINGS}
    given = {key: VALUES.get((key, value), value) for key, value in given.items()}
    chunk = given.pop("chunk", True)
    given |= dict(ensemble=2, chunk_length=c.H if chunk else 1) if cls is FAN else {}
    return cls(cls.Config(**{**c.common(cls), **given, **settings}), c.O, c.D)


def batch_of(agent, name):
    """The batch of a vector: FAN's has no invalid chunks, and single actions but where its name says so."""
    batch = c.sequence_batch()
    if not name.startswith("FAN"):
        return batch
    actions = 0.6 * np.cos(0.3 + 1.9 * np.arange(c.B * agent.chunk_dim)).reshape(c.B, agent.chunk_dim)
    return batch._replace(actions=jnp.asarray(actions), valid=jnp.ones(c.B))


def state_of(agent, name):
    """The filled state of a vector."""
    state, settings = c.filled_state(agent, NUMBERS[type(agent)]), VECTORS[name]["settings"]
    extra = {key: jnp.asarray(settings.get(key, value), float) for key, value in state.extra.items()}
    state = state.replace(extra=extra)
    if "stress" not in name:
        return state

    def larger(path, leaf):
        return leaf * (2.5 if path[-1].key == "kernel" else 1)

    params, targets = (jax.tree_util.tree_map_with_path(larger, tree) for tree in (state.params, state.targets))
    return state.replace(params=params, targets=targets)


def noise_of(draws, name, start=0):
    """The random arrays of a vector."""
    noise = c.fill_noise(draws, start)
    return {
        key: value * (1.5 if "stress" in name and draws[key].law == "normal" else 1) for key, value in noise.items()
    }


@pytest.mark.parametrize("name", CASES)
def test_loss_and_gradients_equal_the_authors(name):
    agent = make(name)
    metrics = dict(METRICS[type(agent)])
    if isinstance(agent, FAN):
        parts = ("flow_loss", "q_loss", "z_loss")
        metrics["actor_total"] = lambda m: sum(m[part] for part in parts) + agent.config.alpha1 * m["anchor_loss"]
    found = c.errors(
        agent,
        NUMBERS[type(agent)],
        batch_of(agent, name),
        VECTORS[name],
        metrics,
        NETWORKS[type(agent)],
        state_of(agent, name),
        noise_of(agent.draws(c.B), name),
    )
    assert max(found.values()) < c.PRECISION, found


def sums(tree, filled):
    """Σθ, Σθ² and Σθ·θ_fill."""
    pairs = list(zip(jax.tree.leaves(tree), jax.tree.leaves(filled), strict=True))
    return [
        float(sum(f(a, b) for a, b in pairs))
        for f in (lambda a, b: a.sum(), lambda a, b: (a * a).sum(), lambda a, b: (a * b).sum())
    ]


@pytest.mark.parametrize("name", [name for name in CASES if "update" in CASES[name]])
def test_whole_updates_equal_the_authors(name):
    agent = make(name)
    begin = state = state_of(agent, name)
    update = c.update_of(agent, noise_of(agent.draws(c.B), name), batch_of(agent, name))
    for expected in VECTORS[name]["update"]:
        state, metrics = update(state)
        for network, values in expected["after"].items():
            kind, bare = ("targets" if network.startswith("target_") else "params"), network.removeprefix("target_")
            ours = NETWORKS[type(agent)].get(bare, bare)
            found = sums(getattr(state, kind)[ours], getattr(begin, kind)[ours])
            wanted = [values["sum"], values["sumsq"], values["dot_fill"]]
            np.testing.assert_allclose(
                found, wanted, rtol=1e-9, atol=1e-9, err_msg=f"step {expected['step']}, {network}"
            )
        for number in set(state.extra) & set(expected):
            np.testing.assert_allclose(state.extra[number], expected[number], rtol=1e-9)
        if isinstance(agent, TRQAM):
            np.testing.assert_allclose(metrics["path_kl"], expected["kl_estimate"], rtol=1e-9)


def acted(agent, state, s, z, monkeypatch):
    """Flattened actions under prescribed noise, drawn by one call."""
    monkeypatch.setattr(jax.random, "normal", lambda key, shape: jnp.asarray(z).reshape(shape))
    monkeypatch.setattr(agent, "draw_noise", lambda rng, batch_size: {"next_latent": jnp.asarray(z)}, raising=False)
    actions = jax.jit(agent.act)(state, s, state.rng)
    return np.asarray(actions).reshape(len(s), -1)


ACTS = [
    (name, i) for name in CASES for i in range(len(CASES[name]["act"]) if isinstance(CASES[name]["act"], list) else 1)
]


@pytest.mark.parametrize("name, i", ACTS)
def test_actions_equal_the_authors(name, i, monkeypatch):
    expected = VECTORS[name]["act"]
    expected = expected[i] if isinstance(expected, list) else expected
    settings = {}
    if name.startswith("QGF"):
        settings = dict(guidance_weight=expected["guidance_weight"], candidates=expected["rejection_sampling"])
    agent = make(name, **settings)
    (call,) = expected["noise_calls"]
    shape = json.loads(call.removeprefix("0:normal"))
    z = noise_of({"z": normal(*shape)}, name)["z"]
    found, wanted = (
        acted(agent, state_of(agent, name), batch_of(agent, name).observations, z, monkeypatch),
        expected["actions"],
    )
    np.testing.assert_allclose([found.sum(), (found**2).sum()], [wanted["sum"], wanted["sumsq"]], rtol=1e-9)
    np.testing.assert_allclose(found[[0, -1]], [wanted["first_row"], wanted["last_row"]], rtol=1e-9, atol=1e-10)


def test_time_features_are_those_of_the_authors_code():
    table = VECTORS["QGF time embedding"]
    assert [np.float32(value).tobytes()[::-1].hex() for value in FREQUENCIES] == table["freqs_float32_hex"]
    times = jnp.asarray(np.arange(11) / 10)[:, None]
    np.testing.assert_allclose(jax.jit(time_features)(times), table["embedding"], rtol=0, atol=2e-7)


def test_trqam_pretrains_the_slow_flow_alone():
    name, agent = PRETRAINING, make(PRETRAINING)
    expected, begin = VECTORS[name], state_of(agent, name)
    noise = c.fill_noise({key: agent.draws(c.B)[key] for key in ("x0", "t")})
    agent.draw_noise = lambda rng, batch_size: noise

    def loss(params):
        return agent.pretraining_loss(agent.bind(params), None, None, batch_of(agent, name), noise)[0]

    total, gradient = jax.value_and_grad(loss)(begin.params)
    np.testing.assert_allclose(total, expected["total"], rtol=1e-9)
    np.testing.assert_allclose(c.inner_product(gradient["slow"], begin.params["slow"]), expected["g_theta"]["slow"])
    np.testing.assert_allclose(c.norm_of(gradient["slow"]), expected["g_norm"]["slow"], rtol=1e-9)
    assert c.norm_of({key: value for key, value in gradient.items() if key != "slow"}) == 0
    state, pretrain = begin, jax.jit(agent.pretrain)
    for row in expected["update"]:
        state, _ = pretrain(state, batch_of(agent, name))
        found = sums(state.params["slow"], begin.params["slow"])
        np.testing.assert_allclose(found, list(row["after"]["slow"].values()), rtol=1e-9, atol=1e-9)
    for key in ("critic", "fast"):
        jax.tree.map(np.testing.assert_array_equal, state.params[key], begin.params[key])
    jax.tree.map(np.testing.assert_array_equal, (state.targets, state.extra), (begin.targets, begin.extra))


@pytest.mark.parametrize("case", VECTORS["TRQAM dual_update"]["cases"], ids=str)
def test_trqam_multiplier_follows_the_authors(case):
    agent = TRQAM(TRQAM.Config(kl_budget=VECTORS["TRQAM dual_update"]["settings"]["kl_budget"]), c.O, c.D)
    before = {key: jnp.asarray(float(case[key])) for key in ("lam", "kl_ema")}
    metrics = {"path_kl": jnp.asarray(float(case["kl_estimate"]))}
    after, logged = agent.after_update(agent.init_extra() | before, None, metrics)
    wanted = [float(case["lam_after"]), float(case["kl_ema_after"])]
    np.testing.assert_allclose([after["lam"], after["kl_ema"]], wanted, rtol=1e-12)
    np.testing.assert_allclose(logged["multiplier"], 3 * wanted[0], rtol=1e-12)
