"""Measures of the paper's claims."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from agents.base import Batch
from agents.fbrac import FBRAC, FBRACConfig
from agents.networks import pessimistic
from agents.rql import RQL, RQLConfig
from analysis import figures
from analysis.drawing.claims import read_claims
from analysis.names import TASKS
from benchmark.common.errors import UserError
from benchmark.loop.played import FILE
from benchmark.paper import claims
from benchmark.paper.ablations import ablations
from benchmark.paper.measures import (
    forward,
    gradient_norm,
    horizon_error,
    interval,
    rank_agreement,
    return_error,
    target_spread,
    values_along,
)
from envs.data.dataset import from_transitions
from tests.helpers import worlds
from tests.helpers.simulated_runs import write_run

SIZES = dict(hidden=(16, 16), ensemble=2, chunk_length=2, flow_steps=4)
O, D, B = 3, 2, 8


def made(cls=RQL, config=RQLConfig, **settings):
    agent = cls(config(**SIZES | settings), O, D)
    return agent, agent.init(jax.random.PRNGKey(0))


@pytest.fixture
def batch():
    keys = jax.random.split(jax.random.PRNGKey(1), 3)
    s, s_next = jax.random.normal(keys[0], (2, B, O))
    a = jax.random.uniform(keys[1], (B, 2 * D), minval=-1)
    one = jnp.ones(B)
    return Batch(s, a, -one, one, s_next, one, jnp.ones((B, 2 * D)))


def test_a_constant_field_is_reversed_exactly():
    x = jnp.ones((2, 3))
    assert np.allclose(forward(lambda x, f: 0.3 * jnp.ones_like(x), x, jnp.full((2, 1), 0.25), 7), 1 + 0.75 * 0.3)


def test_the_error_of_reversing_falls_with_the_steps_and_rises_with_the_depth(batch):
    agent, state = made()
    errors = [float(return_error(agent, state, batch, steps, 1.0).mean()) for steps in (2, 8, 32)]
    assert errors[0] > errors[1] > errors[2] > 0
    assert errors[1] > float(return_error(agent, state, batch, 8, 0.5).mean())
    assert float(return_error(agent, state, batch, 8, 0.0).mean()) == 0


def test_the_spread_of_targets_is_that_of_the_value_over_noise(batch):
    agent, state = made()
    spread, mean = target_spread(agent, state, batch, jax.random.PRNGKey(2), 16)
    z = jax.random.normal(jax.random.PRNGKey(2), (16, B, 2 * D))

    values = [
        pessimistic(agent.bind(state.targets).value(batch.next_observations, noise, jnp.zeros((B, 1))), 0.5)
        for noise in z
    ]
    assert np.allclose(mean, np.mean(values, axis=0), atol=1e-6)
    assert np.allclose(spread, np.std(values, axis=0), atol=1e-6)


def test_values_along_a_trajectory_end_at_the_value_of_the_action(batch):
    agent, state = made()
    along, ends = values_along(agent, state, batch, jax.random.PRNGKey(3), 5)
    assert along.shape == (5, 5, B) and ends.shape == (5, B)
    z = jax.random.normal(jax.random.PRNGKey(3), (5, B, 2 * D))
    value = agent.bind(state.params).value
    first = [value(batch.observations, noise, jnp.zeros((B, 1))).mean(axis=0) for noise in z]
    assert np.allclose(along[0], first, atol=1e-6)
    x = z[0]
    for k in range(4):
        x = x + agent.bind(state.params).actor(batch.observations, x, jnp.full((B, 1), k / 4)) / 4
    assert np.allclose(along[4, 0], value(batch.observations, x, jnp.ones((B, 1))).mean(axis=0), atol=1e-5)
    assert np.allclose(ends[0], value(batch.observations, jnp.clip(x, -1, 1), jnp.ones((B, 1))).mean(0), atol=1e-5)


def test_rank_agreement_is_spearmans_in_every_state():
    rng = np.random.default_rng(0)
    along, ends = rng.normal(size=(3, 20, 4)), rng.normal(size=(20, 4))
    along[2] = np.exp(ends)
    found = rank_agreement(along, ends)
    for f in range(3):
        for state in range(4):
            assert found[f, state] == pytest.approx(stats.spearmanr(along[f, :, state], ends[:, state]).statistic)
    assert np.allclose(found[2], 1)


def test_the_error_of_the_value_of_noise_is_its_distance_from_that_of_the_action_in_spreads_over_states():
    ends = np.array([[0.0, 4.0], [2.0, 6.0]])  # of two samples in two states whose means, 1 and 5, spread by 2
    along = np.stack([ends + np.array([[1.0, -1.0], [3.0, 1.0]]), ends + 100])
    bias, error = horizon_error(along, ends)
    assert bias == pytest.approx((1 - 1 + 3 + 1) / 4 / 2)
    assert error == pytest.approx(np.sqrt((1 + 1 + 9 + 1) / 4) / 2)
    assert horizon_error(np.stack([ends, along[0]]), ends) == (0, 0)


def test_gradients_through_time_grow_with_the_steps_and_those_of_rql_do_not(batch):
    def norms(cls, config, network, **settings):
        norms = []
        for steps in (2, 40):
            agent, state = made(cls, config, **settings | dict(flow_steps=steps))
            state = state.replace(params=jax.tree.map(lambda leaf: 2 * leaf, state.params))  # a field that bends
            norms.append(gradient_norm(agent, state, batch, network))
        return norms[1] / norms[0]

    through_time = norms(FBRAC, FBRACConfig, "flow", alpha=1e-3)
    assert through_time > 1.5 * norms(RQL, RQLConfig, "actor", alpha=1e-3)


def test_an_interval_is_the_t_distributions():
    mean, low, high = interval([1.0, 2.0, 3.0, 4.0])
    expected = stats.ttest_1samp([1.0, 2.0, 3.0, 4.0], 0).confidence_interval(0.95)
    assert (mean, low, high) == (2.5, pytest.approx(expected.low), pytest.approx(expected.high))


def test_a_file_of_claims_is_drawn_and_what_is_none_is_named(tmp_path):
    steps = [dict(agent=a, steps=s, seconds=0.1 * s, gradient_norm=1.0 + s) for a in ("rql", "fbrac") for s in (3, 50)]
    found = {
        "runs": [{"agent": "rql", "task": "puzzle-3x3-play-singletask-task1-v0"}],
        "reversal": [dict(seed=0, steps=3, depth=d, mean=0.1 * d + 0.01) for d in (0.1, 1.0)],
        "targets": [dict(seed=0, within=0.1, between=2.0)],
        "ranking": [dict(seed=0, f=f, mean=f) for f in (0.0, 1.0)],
        "horizon": [dict(agent=a, steps=s, seed=0, error=0.1 * s) for a in ("rql", "tfql") for s in (3, 10)],
        "cost": steps,
    }
    (tmp_path / "claims.json").write_text(json.dumps(found))
    figures.main(["--claims", str(tmp_path / "claims.json"), "--out", str(tmp_path / "out")])
    assert (tmp_path / "out" / "claims.png").stat().st_size > 10_000
    assert not (tmp_path / "out" / "claims_ablations.png").exists()
    rows = [dict(agent="rql", option="expectile", value=v, seed=0, success=v / 2) for v in (0.5, 0.9)]
    (tmp_path / "more.json").write_text(json.dumps(found | {"ablations": [row | {"return": None} for row in rows]}))
    figures.main(["--claims", str(tmp_path / "more.json"), "--out", str(tmp_path / "out")])
    assert (tmp_path / "out" / "claims_ablations.png").stat().st_size > 10_000
    for wrong in (
        {},
        found | {"ablations": [{}]},
        found | {"ablations": 5},
        found | {"cost": [{}]},
        found | {"ranking": "many"},
    ):
        (tmp_path / "wrong.json").write_text(json.dumps(wrong))
        with pytest.raises(UserError, match=r"wrong\.json"):
            read_claims(tmp_path / "wrong.json")


def settings(**others):
    return {"alpha": 1.0, "expectile": 0.7, "flow_steps": 10} | others


def test_an_ablation_is_a_row_of_each_value_that_was_changed_alone_and_seed(tmp_path):
    first = write_run(tmp_path / "first", success={(0, 500): 0, (1, 500): 0, (0, 1000): 0.2, (1, 1000): 0.4})
    (first / "config.json").write_text((first / "config.json").read_text().replace('"alpha": 3.0', '"expectile": 0.7'))
    low = write_run(tmp_path / "low", success=0.1, hyperparameters={"expectile": 0.5, "discount": 0.99})
    far = write_run(tmp_path / "far", success=0.5, hyperparameters={"expectile": 0.7, "discount": 0.9})
    away = write_run(tmp_path / "away", "fql", success=0.5, diverged={1: 600})
    other = write_run(tmp_path / "other", "fql", success=0.5, hyperparameters={"alpha": 9.0, "discount": 0.99})
    rows = ablations([first, low, far, away, other])
    found = [(r["agent"], r["option"], r["value"], r["seed"], r["success"], r["return"]) for r in rows]
    assert found == [
        ("fql", "alpha", 3.0, 0, 0.5, -99.5),
        ("fql", "alpha", 3.0, 1, 0.0, None),
        *(("fql", "alpha", 9.0, seed, 0.5, -99.5) for seed in (0, 1)),
        *(("rql", "discount", 0.9, seed, 0.5, -99.5) for seed in (0, 1)),
        ("rql", "discount", 0.99, 0, 0.2, -99.8),
        ("rql", "discount", 0.99, 1, 0.4, -99.6),
        *(("rql", "expectile", 0.5, seed, 0.1, -99.9) for seed in (0, 1)),
        ("rql", "expectile", 0.7, 0, 0.2, -99.8),
        ("rql", "expectile", 0.7, 1, 0.4, -99.6),
    ]


def test_what_was_played_at_other_values_of_what_acting_reads_is_an_ablation_too(tmp_path):
    run = write_run(tmp_path)
    head = (
        "pass,agent,task,step,seed,episode_seed,episodes_of,acting_steps,guidance,episodes,success,return,length,chosen"
    )
    own = f"rql,{TASKS[0]},1000"
    rows = [f"report,{own},{s},0,9,{v},1,5,{v / 10},-{v},9,0" for v in (1, 3) for s in (0, 1)]
    once = f"report,{own},0,0,9,7,1,5,1,-1,9,"  # at one value alone: nothing was swept
    (run / FILE).write_text("\n".join([head, *rows, rows[0].replace("report", "selection"), once]) + "\n")
    found = [(r["agent"], r["option"], r["value"], r["seed"], r["success"], r["return"]) for r in ablations([run])]
    assert found == [("rql", "acting_steps", v, s, v / 10, -v) for v in (1.0, 3.0) for s in (0, 1)]


@pytest.mark.parametrize("column, value", [(2, TASKS[1]), (3, "500"), (6, "8"), (9, "4")])
def test_what_was_played_elsewhere_or_before_the_end_is_no_part_of_an_ablation(tmp_path, column, value):
    """Of another task, an earlier policy, or episodes of an earlier sweep."""
    run = write_run(tmp_path)
    head = "pass,agent,task,step,seed,episode_seed,episodes_of,acting_steps,episodes,success,return,length,chosen"
    rows = [f"report,rql,{TASKS[0]},1000,{s},0,9,{v},5,0.8,-1,9,0" for v in (1, 3) for s in (0, 1)]
    column -= column > 8
    other = [",".join([*cells[:column], value, *cells[column + 1 :]]) for cells in (row.split(",") for row in rows)]
    (run / FILE).write_text("\n".join([head, *[row.replace(",0.8,", ",0.0,") for row in other], *rows]) + "\n")
    assert [row["success"] for row in ablations([run])] == [0.8] * 4


def test_runs_that_are_no_ablation_are_named_and_why(tmp_path):
    first = write_run(tmp_path / "first", hyperparameters=settings())
    wrong = {
        "differs from .* in alpha, expectile": write_run(
            tmp_path / "two", hyperparameters=settings(alpha=2.0, expectile=0.9)
        ),
        "in no hyperparameter": write_run(tmp_path / "same", hyperparameters=settings()),
        "which is no number": write_run(tmp_path / "text", hyperparameters=settings(hidden=[1])),
        "not the folder of a finished run": write_run(tmp_path / "begun", state="running", step=500),
        "is of cube-quadruple": write_run(tmp_path / "task", task=TASKS[-1]),
        "in protocol; an ablation": write_run(tmp_path / "longer", hyperparameters=settings(alpha=2.0), steps=2000),
        "in data; an ablation": write_run(
            tmp_path / "data",
            hyperparameters=settings(alpha=2.0),
            start={"dataset": {"name": "data", "fingerprint": "sha256:2"}},
        ),
    }
    for said, path in wrong.items():
        with pytest.raises(UserError, match=said):
            ablations([first, path])
    (tmp_path / "empty").mkdir()
    for path in (tmp_path, tmp_path / "empty"):  # tmp_path holds runs, and is none
        with pytest.raises(UserError, match="is not the folder of a run"):
            ablations([path])


def test_what_is_measured_of_runs_is_written_with_their_ablations(tmp_path, monkeypatch):
    """On an agent that was not trained, in the place of those that a checkpoint would give."""
    agent, state = made()
    rows = worlds.transitions((9, 14))
    data = from_transitions(**rows | {name: rows[name][:, :O] for name in ("observations", "next_observations")})
    config = {"agent": "rql", "task": TASKS[0], "seeds": [5], "protocol": {}}
    seeds = jax.tree.map(lambda leaf: leaf[None], state)
    monkeypatch.setattr(claims, "load_run", lambda path, agents: (agent, seeds, data, config))
    monkeypatch.setattr(claims, "STEPS", (3, 50))
    runs = [write_run(tmp_path / name, hyperparameters=settings(alpha=a)) for name, a in (("one", 1.0), ("two", 2.0))]
    said, told = [], []
    out = claims.measure([tmp_path], tmp_path / "claims.json", 8, runs, said.append, lambda *at: told.append(at))
    found = read_claims(out)
    assert [row["value"] for row in found["ablations"]] == [1.0, 1.0, 2.0, 2.0]
    assert {row["seed"] for name in ("reversal", "targets", "ranking", "horizon") for row in found[name]} == {5}
    assert [row["steps"] for row in found["cost"]] == [3, 50] and len(found["ranking"]) == SIZES["flow_steps"] + 1
    assert said[-1] == "rql: success (return) by alpha: 50% (-99.5) at 1, 50% (-99.5) at 2."
    assert {done for done, _ in told} == {0} and told[-1][1] == "rql: cost of an update"
