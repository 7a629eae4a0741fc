"""Throughput: arithmetic is counted right, rates are recorded and read back, failures stay in their row."""

import gzip
import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agents.bdpo import BDPO
from agents.fql import FQL
from agents.rql import RQL
from benchmark import throughput
from benchmark.common.errors import UserError
from benchmark.speed import arithmetic, loops, rates, turns
from benchmark.speed import updates as measuring
from benchmark.speed.from_options import measurement_from
from envs.data.samplers import sample_sequences
from envs.tasks import DOMAINS, dimensions

B, N, W = 4, 3, 16  # batch, inputs, width
TINY = ["--size", "hidden=8", "ensemble=2", "batch_size=8", "flow_steps=2"]


def mlp(params, x):
    return jnp.tanh(x @ params[0]) @ params[1]


PARAMS = (jnp.ones((N, W)), jnp.ones((W, N)))
X = jnp.ones((B, N))
FORWARD = 2 * B * N * W * 2


# ------------------------------------------------------------------------------------------------- arithmetic


def test_a_loop_counts_as_often_as_it_runs():
    def rollout(params, x):
        return jax.lax.scan(lambda x, _: (mlp(params, x), None), x, length=7)[0]

    assert arithmetic.model_flop(mlp, PARAMS, X) == FORWARD
    assert arithmetic.model_flop(jax.jit(rollout), PARAMS, X) == 7 * FORWARD


def test_a_gradient_counts_two_products_a_layer_but_none_for_the_inputs():
    def loss(params, x):
        return (mlp(params, x) ** 2).sum()

    assert arithmetic.model_flop(jax.grad(loss), PARAMS, X) == 2 * B * N * W * (2 + 2 + 1)


def test_what_is_not_used_is_not_counted_and_seeds_multiply():
    def wasteful(params, x):
        mlp(params, x)
        return jax.vmap(lambda x: mlp(params, x))(x)

    assert arithmetic.model_flop(wasteful, PARAMS, jnp.ones((5, B, N))) == 5 * FORWARD


def test_a_product_in_a_loop_of_unknown_length_is_refused():
    def endless(params, x):
        return jax.lax.while_loop(lambda x: x.sum() < 9, lambda x: mlp(params, x), x)

    with pytest.raises(ValueError, match="unknown length"):
        arithmetic.model_flop(endless, PARAMS, X)


def test_an_rql_update_needs_the_products_of_its_networks():
    """Value: one pass at s', forward and gradient at s, through the inputs of a fixed copy. Flow: F steps and one
    gradient. A gradient is two more passes, less the first layer where inputs need none, and the other way round."""
    H, E, F = 32, 3, 4
    data = loops.synthetic_data(6, 2, 3000)
    agent = RQL(RQL.Config(hidden=(H, H), ensemble=E, flow_steps=F, chunk_length=3, batch_size=B), 6, 2)
    inputs, outputs = 6 + 6 + 1, 6
    value, flow = inputs * H + H * H + H, inputs * H + H * H + H * outputs
    expected = E * (value + (3 * value - inputs * H) + 2 * value) + F * flow + (3 * flow - inputs * H)
    assert arithmetic.update_flop(agent, data, ("update",)) == 2 * B * expected


def test_segments_are_whole_cycles_and_shorter_where_there_is_more_to_do():
    pattern = ("a",) * 4 + ("b",)
    assert loops.segment_length(1e9, 1, 1e12, pattern) == 600
    assert loops.segment_length(1e9, 12, 1e12, pattern) == 50
    assert loops.segment_length(1e15, 1, 1e12, pattern) == 5
    assert loops.segment_length(None, 1, 1e12, pattern) == loops.LONGEST_SEGMENT


def test_the_steady_phase_of_an_agent_with_pretraining_is_its_last():
    agent = BDPO(BDPO.Config(actor_every=3), 6, 2)
    assert loops.steady_cycle(agent) == ("update_critics", "update_critics", "update")


# ------------------------------------------------------------------------------------------------------ rates


def test_rates_are_updates_over_the_time_until_the_device_is_done(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(turns.time, "perf_counter", lambda: clock[0])
    pending = [0]

    def advance():
        pending[0] += 10
        return 10

    def wait():
        clock[0] += 0.01 * pending[0]
        pending[0] = 0

    (spread,) = turns.take_turns([turns.Loop(advance, wait).repeat], 5)
    assert math.isclose(spread.median, 100) and math.isclose(spread.minimum, 100) and math.isclose(spread.maximum, 100)
    assert 3 <= spread.repeats <= 5 and clock[0] < 7


def test_loops_that_are_compared_take_turns():
    order = []

    def loop(name):
        return lambda seconds: order.append(name) or len(order)

    spreads = turns.take_turns([loop("ours"), loop("theirs")], 1e-4)
    assert order == ["ours", "theirs"] * spreads[0].repeats and spreads[0].repeats == spreads[1].repeats > 1
    assert (spreads[0].minimum, spreads[1].minimum) == (1, 2)


def test_batches_of_the_public_loop_are_those_of_the_sampler():
    data = loops.synthetic_data(6, 2, 5000)
    config = dict(chunk_length=3, batch_size=16)
    for agent in (FQL(FQL.Config(**config), 6, 2), RQL(RQL.Config(**config), 6, 2)):
        ours, theirs = (
            next(loops.numpy_batches(agent, data)),
            jax.eval_shape(lambda: sample_sequences(data, jax.random.PRNGKey(0), 16, 3, 0.99)),
        )
        for mine, other in zip(ours, theirs, strict=True):
            assert (mine.shape, mine.dtype) == (other.shape, other.dtype)
        stored = np.asarray(data.observations)  # a trajectory's last row is the next one's first
        start = np.array([np.flatnonzero((stored == observation).all(1))[-1] for observation in ours.observations])
        inside = ours.valid > 0
        np.testing.assert_array_equal(ours.next_observations[inside], stored[start + 3][inside])
        np.testing.assert_allclose(ours.rewards[inside], -(1 + 0.99 + 0.99**2), rtol=1e-6)


def test_two_agents_are_measured_and_a_failing_one_is_a_row(tmp_path, monkeypatch, capsys):
    def broken(self, *arguments):
        raise FloatingPointError("no such number\nsecond line")

    monkeypatch.setattr(FQL, "init", broken)
    monkeypatch.setattr(measuring, "measure_peak", lambda precision: 1e9)
    path = tmp_path / "rates" / "here.json"
    arguments = ["--agents=bc,fql,rebrac", "--seeds=2", "--seconds=0.05", "--transitions=3000", f"--json={path}", *TINY]
    assert throughput.main(arguments) == 1
    rows = {row["agent"]: row for row in rates.read_rates(path)}
    assert rows["fql"]["error"] == "FloatingPointError: no such number"
    for name in ("bc", "rebrac"):
        row = rows[name]
        assert row["error"] is None and row["seeds"] == 2 and row["settings"]["hidden"] == [8]
        for field in ("updates_per_second", "public_loop_updates_per_second", "compile_seconds", "peak_share"):
            assert math.isfinite(row[field]) and row[field] > 0, field
        assert row["seed_updates_per_second"] == 2 * row["updates_per_second"]
        assert row["first_update_seconds"] > row["compile_seconds"] > row["trace_seconds"]
        assert row["memory_bytes"] > 3000 * 37 * 4
        assert row["provenance"]["versions"]["jax"] == jax.__version__
    assert "no such number" in capsys.readouterr().out


THEIR_AGENT = """
import types
import jax.numpy as jnp

def get_config():
    return dict(lr=0.0, num_qs=0, value_hidden_dims=(), horizon_length=0, batch_size=1, discount=1,
                action_chunking=False)

class FQLAgent:
    network = types.SimpleNamespace(params=jnp.zeros(1))

    @classmethod
    def create(cls, seed, observations, actions, config):
        assert observations.shape == (37,) and actions.shape == (5,)
        assert config == dict(lr=3e-4, num_qs=2, value_hidden_dims=(8,), horizon_length=5, action_chunking=True,
                              batch_size=8, discount=0.99), config
        return cls()

    def update(self, batch):
        assert batch == (8, 5, 0.99)
        return self, {}
"""
THEIR_DATA = """
class Dataset:
    def __init__(self, size):
        self.size = size

    @classmethod
    def create(cls, observations, actions, rewards, masks, terminals, next_observations):
        return cls(len(observations))

    def sample_sequence(self, batch_size, sequence_length, discount):
        assert self.size == 3000
        return batch_size, sequence_length, discount
"""


def checkout(folder, agent=THEIR_AGENT):
    for name, text in {"agents/__init__": "", "agents/fql": agent, "utils/datasets": THEIR_DATA}.items():
        path = folder / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def beside_authors(folder, path):
    arguments = ["--agents=fql,bc", "--seeds=1", "--seconds=0.05", "--transitions=3000", f"--json={path}", *TINY]
    code = throughput.main([*arguments, "--no-compare-public-loop", "--authors", str(folder)])
    return code, {row["agent"]: row for row in rates.read_rates(path)}


def test_the_authors_code_is_driven_with_the_same_settings_in_a_process_of_its_own(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(measuring, "measure_peak", lambda precision: 1e9)
    code, rows = beside_authors(checkout(tmp_path / "theirs"), tmp_path / "rates.json")
    assert code == 0, rows["fql"]["error"]
    ours, theirs = rows["fql"]["seed_updates_per_second"], rows["fql"]["authors"]["updates_per_second"]
    assert theirs > 0 and rows["fql"]["authors_speedup"] == ours / theirs
    assert rows["fql"]["authors"]["first_update_seconds"] > 0 and "authors" not in rows["bc"]
    assert "authors' code" in capsys.readouterr().out


def test_authors_code_that_fails_is_said_in_the_row_and_the_others_go_on(tmp_path, monkeypatch):
    monkeypatch.setattr(measuring, "measure_peak", lambda precision: 1e9)
    broken = THEIR_AGENT + "\nraise ImportError('no module distrax')"
    code, rows = beside_authors(checkout(tmp_path / "theirs", broken), tmp_path / "rates.json")
    assert code == 1 and "no module distrax" in rows["fql"]["authors"]["error"]
    assert all(row["error"] is None and row["updates_per_second"] > 0 for row in rows.values())


def test_folders_without_the_authors_code_are_refused(tmp_path):
    with pytest.raises(UserError, match="is not a checkout of the authors' code"):
        measurement_from(throughput.parser().parse_args(["--authors", str(tmp_path)]))
    checkout(tmp_path)
    with pytest.raises(UserError, match=r"no code of rebrac, rql in .* known are rql, fql"):
        measurement_from(throughput.parser().parse_args(["--agents=rebrac,rql", "--authors", str(tmp_path)]))
    with pytest.raises(UserError, match="--authors-python: /no/python is not a program"):
        measurement_from(throughput.parser().parse_args(["--authors", str(tmp_path), "--authors-python=/no/python"]))


@pytest.mark.slow
def test_a_profile_is_a_trace_for_perfetto(tmp_path):
    options = [f"--json={tmp_path / 'rates.json'}", f"--profile={tmp_path / 'profile'}", "--no-compare-public-loop"]
    assert throughput.main(["--agents=bc", "--seeds=1", "--seconds=0.05", "--transitions=3000", *options, *TINY]) == 0
    (trace,) = (tmp_path / "profile" / "bc-1").glob("plugins/profile/*/perfetto_trace.json.gz")
    assert "traceEvents" in json.loads(gzip.decompress(trace.read_bytes()))
    (found,) = rates.read_rates(tmp_path / "rates.json")
    assert "speedup" not in found


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--agents=rql,fqll"], "unknown agent 'fqll' .did you mean 'fql'"),
        (["--domain=cube-duble-play"], "did you mean 'cube-double-play'"),
        (["--size=papr"], "unknown size 'papr' .did you mean 'paper'"),
        (["--size", "hiden=8"], "'hiden' .did you mean 'hidden'"),
        (["--seeds=1,x"], "--seeds must be a whole number of at least 1, not 'x'"),
        (["--seconds=0"], "--seconds must be a positive number, not '0'"),
        (["--precision=tf32"], "unknown precision 'tf32'"),
    ],
)
def test_a_mistake_is_named_before_any_work(arguments, message):
    with pytest.raises(UserError, match=message):
        measurement_from(throughput.parser().parse_args(arguments))


def test_tuned_settings_come_first_and_an_agent_without_a_setting_ignores_it():
    plan = measurement_from(
        throughput.parser().parse_args(["--agents=rebrac,rql", "--size", "quickstart", "flow_steps=7"])
    )
    assert plan.agents["rql"]["flow_steps"] == "7" and plan.agents["rql"]["hidden"] == (256, 256)
    assert "flow_steps" not in plan.agents["rebrac"] and plan.size == "quickstart flow_steps=7"
    assert plan.agents["rql"]["chunk_length"] == 5


def test_every_domain_has_its_dimensions():
    assert all(dimensions(domain) for domain in DOMAINS.values())


# ------------------------------------------------------------------------------------------------- the record


def row(seeds=1, rate=10.0, agent="rql", domain="cube-double-play", error=None, **more):
    spread = dict(minimum=0.9 * rate, median=rate, maximum=1.2 * rate, repeats=3)
    known = dict(device="cpu: x", agent=agent, domain=domain, size="paper", precision="default", seeds=seeds)
    known |= dict(settings={}, updates_per_second=rate, seed_updates_per_second=seeds * rate)
    return known | dict(spread=spread, error=error) | more


def test_a_new_row_replaces_the_old_one_of_its_case_alone(tmp_path):
    path = tmp_path / "rates.json"
    assert rates.read_rates(path) == []
    rates.write_rates(path, [row(1, 10.0), row(4, 5.0)])
    rates.write_rates(path, [row(4, 6.0), row(1, 9.0, agent="fql")])
    found = {(r["agent"], r["seeds"]): r["updates_per_second"] for r in rates.read_rates(path)}
    assert found == {("rql", 1): 10, ("rql", 4): 6, ("fql", 1): 9}
    assert json.loads(path.read_text())["schema"] == 1


def test_time_per_update_is_interpolated_over_seeds():
    rows = [row(2, 10.0), row(4, 5.0), row(12, 2.0)]
    at = lambda seeds: rates.updates_per_second("rql", "cube-double-play", seeds, rows)  # noqa: E731
    assert at(4) == pytest.approx((5, 4.5, 6))
    assert at(3) == pytest.approx((1 / 0.15, 0.9 / 0.15, 1.2 / 0.15))
    assert at(1) == pytest.approx((10, 9, 24))  # as slow as two seeds, at best twice as fast
    assert at(24) == pytest.approx((1, 0.9, 2.4 * 1))  # in proportion, at best as fast as twelve
    assert rates.updates_per_second("fql", "cube-double-play", 1, rows) is None


def test_a_similar_domain_stands_in_with_wider_bounds_and_failures_do_not_count():
    rows = [
        row(1, 10.0, domain="cube-double-play"),
        row(1, 99.0, domain="humanoidmaze-large-navigate"),
        row(1, 0.0, domain="cube-triple-play", error="RuntimeError: out of memory"),
    ]
    rate, low, high = rates.updates_per_second("rql", "cube-triple-play", 1, rows)
    assert (rate, low, high) == pytest.approx((10, 9 * 0.9, 12 * 1.1))
    assert rates.updates_per_second("rql", "cube-triple-play", 1, rows, size="quickstart") is None
    assert rates.updates_per_second("rql", "toy-modes", 1, rows) is None
