"""FAN, QGF and TRQAM: the branches that their authors' numbers do not reach."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agents.fan import FAN
from agents.qam import QAM
from agents.qgf import QGF
from agents.trqam import TRQAM
from benchmark.planning.plan import choose
from envs.tasks import OGBENCH_DOMAINS, get_task
from tests.helpers import conformance as c
from tests.helpers.references import tuned_domains

FAN_NUMBERS = {"critic": 1, "target critic": 2, "upper": 30, "flow": 4, "one_step": 6}
QGF_NUMBERS = {"value": 3, "critic": 1, "target critic": 2, "flow": 4}
TRQAM_NUMBERS = {"critic": 1, "target critic": 2, "fast": 7, "slow": 8, "target slow": 9}


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def loss_of(agent, state):
    """The agent's loss and metrics under the prescribed noise."""
    total, metrics, _ = c.loss_and_gradient(agent, state, c.sequence_batch())
    return float(total), metrics


def test_fan_takes_its_online_weights_where_the_online_phase_begins():
    make = lambda **alphas: FAN(FAN.Config(**c.common(FAN), **alphas), c.O, c.D)  # noqa: E731
    agent = make(alpha1=100.0, alpha2=3.0, online_alpha1=30.0, online_alpha2=0.5)
    state = c.filled_state(agent, FAN_NUMBERS)
    offline, _ = loss_of(make(alpha1=100.0, alpha2=3.0, online_alpha1=1.0, online_alpha2=1.0), state)
    online, _ = loss_of(make(alpha1=30.0, alpha2=0.5), state)
    assert loss_of(agent, state)[0] == offline == loss_of(agent, agent.begin(state, "training"))[0]
    np.testing.assert_allclose(loss_of(agent, agent.begin(state, "online"))[0], online, rtol=1e-12)


def test_fan_leaves_invalid_chunks_out_of_what_learns_from_data_alone():
    agent = FAN(FAN.Config(**c.common(FAN)), c.O, c.D)
    state, batch = c.filled_state(agent, FAN_NUMBERS), c.sequence_batch()
    other = batch._replace(actions=jnp.where(batch.valid[:, None] > 0, batch.actions, 0.7))
    one, two = (c.loss_and_gradient(agent, state, rows)[1] for rows in (batch, other))
    for name in ("critic_loss", "upper_loss", "flow_loss", "anchor_loss", "q_loss"):
        np.testing.assert_allclose(one[name], two[name], rtol=1e-12)
    none = c.loss_and_gradient(agent, state, batch._replace(valid=jnp.zeros(c.B)))[1]
    assert none["critic_loss"] == none["upper_loss"] == none["flow_loss"] == 0 != none["anchor_loss"]


def test_qgf_guidance_is_read_by_acting_alone_and_0_is_cloning():
    state = c.filled_state(QGF(QGF.Config(**c.common(QGF)), c.O, c.D), QGF_NUMBERS)
    agents = [QGF(QGF.Config(**c.common(QGF), guidance_weight=w), c.O, c.D) for w in (0.0, 0.3)]
    assert loss_of(agents[0], state)[0] == loss_of(agents[1], state)[0]
    cloned, guided = (jax.jit(agent.act)(state, c.sequence_batch().observations, state.rng) for agent in agents)
    assert np.abs(np.asarray(cloned - guided)).max() > 1e-3
    weights = jax.tree.map(lambda *leaves: jnp.stack([jnp.asarray(leaf, float) for leaf in leaves]), *agents)
    both = jax.vmap(lambda agent: agent.act(state, c.sequence_batch().observations, state.rng))(weights)
    np.testing.assert_allclose(both, [cloned, guided], rtol=1e-9, atol=1e-12)


def test_qgf_clones_windows_that_cross_an_end_too():
    agent = QGF(QGF.Config(**c.common(QGF)), c.O, c.D)
    state, batch = c.filled_state(agent, QGF_NUMBERS), c.sequence_batch()
    none = c.loss_and_gradient(agent, state, batch._replace(valid=jnp.zeros(c.B)))[1]
    assert none["value_loss"] == none["critic_loss"] == 0
    assert none["flow_loss"] == loss_of(agent, state)[1]["flow_loss"]


@pytest.mark.parametrize("lam", [0.0, 0.05, 2.0])
def test_trqam_is_qam_at_the_inverse_of_its_multiplier_times_it(lam):
    agent = TRQAM(TRQAM.Config(**c.COMMON), c.O, c.D)
    state = c.filled_state(agent, TRQAM_NUMBERS)
    state = state.replace(extra=state.extra | {"lam": jnp.asarray(lam)})
    multiplier = max(3 * lam, 1e-8)
    qam = QAM(QAM.Config(**c.COMMON, inv_temp=1 / multiplier), c.O, c.D)
    expected = loss_of(qam, state.replace(extra={}))[1]["adjoint_loss"]
    np.testing.assert_allclose(loss_of(agent, state)[1]["adjoint_loss"], multiplier * expected, rtol=1e-9)


def test_trqam_has_no_kl_where_both_flows_are_one():
    agent = TRQAM(TRQAM.Config(**c.COMMON), c.O, c.D)
    total, metrics = loss_of(agent, agent.begin(c.filled_state(agent, TRQAM_NUMBERS), "training"))
    assert metrics["path_kl"] == 0
    np.testing.assert_allclose(total, sum(metrics[name] for name in ("critic_loss", "flow_loss", "adjoint_loss")))


@pytest.mark.parametrize("online_budget, expected", [(0.0, 0.5), (2.0, 2.0)])
def test_trqam_has_its_online_budget_in_the_online_phase_where_it_is_given(online_budget, expected):
    agent = TRQAM(TRQAM.Config(**c.COMMON, kl_budget=0.5, online_kl_budget=online_budget), c.O, c.D)
    plain = TRQAM(TRQAM.Config(**c.COMMON, kl_budget=expected), c.O, c.D)
    state = agent.begin(c.filled_state(agent, TRQAM_NUMBERS), "online")
    metrics = {"path_kl": jnp.asarray(3.0)}
    after, _ = agent.after_update(state.extra, None, metrics)
    wanted, _ = plain.after_update(plain.init_extra(), None, metrics)
    assert after["lam"] == wanted["lam"] and after["kl_ema"] == wanted["kl_ema"]
    before, _ = agent.after_update(agent.init_extra(), None, metrics)
    np.testing.assert_allclose(before["kl_ema"], 0.1 * 2 * 0.5)


def test_widths_layer_norm_and_discount_of_a_method_may_be_a_domains_own():
    domains = [domain.name for domain in OGBENCH_DOMAINS]
    for cls in (TRQAM, QGF, FAN):
        assert list(tuned_domains(cls)) == domains
    chosen, origins = choose(TRQAM, get_task("cube-quadruple-play-singletask-task1-v0"), {})
    assert (chosen["hidden"], chosen["discount"], chosen["flow_layer_norm"]) == ((1024,) * 4, 0.995, True)
    assert all(origins[name].startswith("derived: TRQAM") for name in ("hidden", "discount", "flow_layer_norm"))
    small, _ = choose(TRQAM, get_task("cube-double-play-singletask-task1-v0"), {})
    assert "hidden" not in small and origins["chunk_length"] == "domain"
