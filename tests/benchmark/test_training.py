"""The loop: seeds are independent, a run that is cut anywhere ends with the same records."""

import csv
import dataclasses
import signal
import subprocess
import sys
import threading
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agents.rql import RQL
from benchmark.common.errors import UserError
from benchmark.loop.checkpoints import Checkpoints
from benchmark.loop.experiment import Watch
from benchmark.loop.recorder import Recorder
from benchmark.loop.segments import init_states, run_segment
from benchmark.runs.protocol import Protocol
from benchmark.runs.record import RunDirectory
from benchmark.runs.table import Table
from envs.play.pool import EpisodeResults
from envs.tasks import get_task
from envs.toy.world import ToyWorld
from tests.helpers.loop import training_of
from tests.helpers.worlds import D, FakeWorld, O

SMALL = RQL.Config(hidden=(16, 16), ensemble=2, chunk_length=3, batch_size=4, flow_steps=2)
AGENT = RQL(SMALL, O, D)
PROTOCOL = Protocol(steps=12, eval_every=6, eval_episodes=3, eval_first=True, log_every=2, checkpoint_every=4)


def train(path, world=None, seeds=(0, 3), protocol=PROTOCOL, agent=AGENT, **options):
    with RunDirectory(path) as directory:
        training = training_of(directory, agent, protocol, world or FakeWorld(), seeds, **options)
        training.run()
    return training


def records(path):
    return {name: (path / name).read_text() for name in ("train.csv", "eval.csv")}


def test_a_seed_gives_the_same_numbers_whichever_seeds_run_beside_it():
    data = FakeWorld().data

    def after(seeds):
        states, metrics = run_segment(AGENT, init_states(AGENT, jnp.asarray(seeds)), data, 5, ("update",))
        return jax.tree.map(lambda leaf: np.asarray(leaf[seeds.index(7)]), (states.params, metrics))

    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-4, atol=1e-6), after([7]), after([1, 7, 2]))


def test_seeds_all_at_once_as_on_an_accelerator_equal_seeds_one_after_the_other(monkeypatch):
    data, seeds = FakeWorld().data, jnp.asarray([4, 9])
    one_by_one = run_segment(AGENT, init_states(AGENT, seeds), data, 5, ("update",))
    jax.clear_caches()
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    at_once = run_segment(AGENT, init_states(AGENT, seeds), data, 5, ("update",))
    jax.clear_caches()
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-4, atol=1e-6), one_by_one, at_once)


def test_segments_of_any_length_make_the_same_updates():
    data = FakeWorld().data
    whole, _ = run_segment(AGENT, init_states(AGENT, jnp.asarray([0])), data, 6, ("update",))
    parts = init_states(AGENT, jnp.asarray([0]))
    for length in (1, 2, 3):
        parts, _ = run_segment(AGENT, parts, data, length, ("update",))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7), whole.params, parts.params)


def test_records_have_a_row_for_every_step_and_seed(tmp_path):
    train(tmp_path / "run")
    rows = list(csv.DictReader((tmp_path / "run" / "train.csv").open()))
    assert [(int(r["step"]), int(r["seed"])) for r in rows] == [(s, k) for s in range(2, 13, 2) for k in (0, 3)]
    rows = list(csv.DictReader((tmp_path / "run" / "eval.csv").open()))
    assert [(int(r["step"]), int(r["seed"])) for r in rows] == [(s, k) for s in (1, 6, 12) for k in (0, 3)]
    assert RunDirectory(tmp_path / "run").status["state"] == "done"


def test_a_seed_with_a_metric_that_is_not_finite_has_diverged_and_the_metric_is_named(tmp_path):
    said = []
    with RunDirectory(tmp_path / "run") as directory:
        recorder = Recorder(directory, (0, 3), Watch(say=said.append))
        recorder.add_updates(100, {"loss": np.array([0.5, 0.5]), "ratio": np.array([1.0, np.nan])})
    assert recorder.diverged == {3: 100} and recorder.active == [True, False]
    assert said == ["seed 3 diverged: ratio is not finite at step 100"]


class Cut(Exception):
    pass


@pytest.mark.parametrize("segment", range(1, 6))
def test_a_run_cut_after_any_segment_ends_with_the_same_records(tmp_path, segment, whole_records):
    calls = []

    def cut(what, done, total):
        calls.append(done)
        if what == "training" and len(calls) == segment:
            raise Cut

    with pytest.raises(Cut):
        train(tmp_path / "run", on_progress=cut)
    train(tmp_path / "run")
    assert records(tmp_path / "run") == whole_records


@pytest.fixture(scope="module")
def whole_records(tmp_path_factory):
    path = tmp_path_factory.mktemp("whole") / "run"
    train(path)
    return records(path)


class SlowWorld(FakeWorld):
    """A world that evaluates step 6 only once training has gone on to update 10."""

    def __init__(self):
        super().__init__()
        self.trained = threading.Event()

    def evaluate(self, policy, seeds, episodes, step, active, on_progress=None):
        assert step != 6 or self.trained.wait(60), "training waited for its evaluation"
        return super().evaluate(policy, seeds, episodes, step, active, on_progress)

    def note(self, what, done, total):
        if done >= 10:
            self.trained.set()


def test_a_device_trains_on_while_it_evaluates_and_the_records_are_the_same(tmp_path, whole_records):
    # checkpoints as often as evaluations, as in the protocols: they would otherwise wait for the slow one
    protocol = dataclasses.replace(PROTOCOL, checkpoint_every=6)
    world = SlowWorld()
    train(tmp_path / "run", world, protocol=protocol, on_progress=world.note, beside=True)
    assert records(tmp_path / "run") == whole_records


@pytest.mark.parametrize("segment", range(1, 6))
def test_a_run_cut_beside_its_evaluation_ends_with_the_same_records(tmp_path, segment, whole_records):
    def cut(what, done, total):
        if done == 2 * segment:
            raise Cut

    with pytest.raises(Cut):
        train(tmp_path / "run", on_progress=cut, beside=True)
    train(tmp_path / "run", beside=True)
    assert records(tmp_path / "run") == whole_records


def test_a_checkpoint_is_written_only_after_the_rows_of_its_evaluation(tmp_path):
    class Broken(FakeWorld):
        def evaluate(self, policy, seeds, episodes, step, active, on_progress=None):
            if step == 6:
                raise RuntimeError("the simulator broke")
            return super().evaluate(policy, seeds, episodes, step, active, on_progress)

    protocol = dataclasses.replace(PROTOCOL, checkpoint_every=6)
    with pytest.raises(RuntimeError, match="the simulator broke"):
        train(tmp_path / "run", Broken(), protocol=protocol, beside=True)
    assert not [p for p in (tmp_path / "run" / "checkpoints").iterdir() if p.name.isdigit()]


def test_segments_beside_an_evaluation_are_short_and_hold_whole_cycles(tmp_path):
    class Cycled(RQL):
        def cycle(self, step):
            return ("update",) * 3, None

    agent, protocol = Cycled(SMALL, O, D), dataclasses.replace(PROTOCOL, steps=1000, log_every=1000)
    with RunDirectory(tmp_path) as directory:
        training = training_of(directory, agent, protocol, FakeWorld(), (0,), beside=True)
    assert training.next_segment(1000) == (51, ("update",) * 3)
    training.progress = 999
    assert training.next_segment(1000) == (1, ("update",))


def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(tmp_path, whole_records):
    def cut(what, done, total):
        if done == 10:
            raise Cut

    with pytest.raises(Cut):
        train(tmp_path / "run", on_progress=cut)
    steps = sorted(int(p.name) for p in (tmp_path / "run" / "checkpoints").iterdir() if p.name.isdigit())
    assert steps == [4, 8]
    for file in (tmp_path / "run" / "checkpoints" / "8").rglob("*"):
        if file.is_file() and file.stat().st_size > 20:
            file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    train(tmp_path / "run")
    assert records(tmp_path / "run") == whole_records


class Poisoned(RQL):
    """RQL whose seed 3 loses its parameters to NaN at its sixth update."""

    def update(self, state, batch):
        state, metrics = super().update(state, batch)
        hit = (state.rng == self.init(jax.random.PRNGKey(3)).rng).all() & (state.step >= 6)
        spoil = lambda x: jnp.where(hit, jnp.nan, x)  # noqa: E731
        return state.replace(params=jax.tree.map(spoil, state.params)), jax.tree.map(spoil, metrics)


def test_states_of_a_checkpoint_go_on_in_the_program_that_is_compiled_already(tmp_path):
    data = FakeWorld().data
    states, _ = run_segment(AGENT, init_states(AGENT, jnp.asarray([0])), data, 2, ("update",))
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(2, states, {})
    _, restored, _ = checkpoints.restore(states, print)
    checkpoints.close()
    programs = run_segment._cache_size()
    ends = [run_segment(AGENT, begin, data, 2, ("update",)) for begin in (states, restored)]
    jax.tree.map(np.testing.assert_array_equal, *ends)
    assert run_segment._cache_size() == programs


def test_a_seed_that_diverges_is_recorded_and_the_others_go_on(tmp_path, whole_records):
    train(tmp_path / "run", agent=Poisoned(SMALL, O, D))
    assert RunDirectory(tmp_path / "run").status["diverged"] == {"3": 6}
    of_seed_0 = [line for line in whole_records["eval.csv"].splitlines() if line.split(",")[1] in ("seed", "0")]
    rows = (tmp_path / "run" / "eval.csv").read_text().splitlines()
    assert [row for row in rows if row.split(",")[1] in ("seed", "0")] == of_seed_0
    assert [row.split(",")[0] for row in rows if row.split(",")[1] == "3"] == ["1"]


class Lost(RQL):
    """RQL whose seed 3 has finite losses, and from its sixth update on a policy whose actions are not finite."""

    def act(self, state, observations, rng):
        hit = (state.rng == self.init(jax.random.PRNGKey(3)).rng).all() & (state.step >= 6)
        return jnp.where(hit, jnp.nan, super().act(state, observations, rng))


class Burst(RQL):
    """RQL whose seed 3 has parameters of NaN after its sixth update, and of that update finite losses."""

    bursts = 3

    def update(self, state, batch):
        state, metrics = super().update(state, batch)
        hit = (state.rng == self.init(jax.random.PRNGKey(self.bursts)).rng).all() & (state.step == 6)
        networks = jax.tree.map(lambda x: jnp.where(hit, jnp.nan, x), (state.params, state.targets))
        return state.replace(params=networks[0], targets=networks[1]), metrics


class Whole(Burst):
    """The same program, of which no seed that is trained bursts: other programs may differ in the last digit."""

    bursts = 4


MODES = get_task("toy-modes")
ONE_STEP = dataclasses.replace(SMALL, chunk_length=1)


@pytest.fixture(scope="module")
def whole_on_modes(tmp_path_factory):
    """Records of the runs that lose no seed, by the agent that does."""
    found = {}
    for kind, whole in ((Lost, RQL), (Burst, Whole)):
        path = tmp_path_factory.mktemp("modes") / "run"
        train(path, ToyWorld(MODES), agent=whole(ONE_STEP, 2, 2))
        found[kind] = records(path)
    return found


def of_seed(text, seed):
    return [row for row in text.splitlines() if row.split(",")[1] == str(seed)]


@pytest.mark.parametrize("beside", [False, True])
@pytest.mark.parametrize("kind", [Lost, Burst])
def test_a_seed_whose_policy_cannot_act_has_diverged_and_the_others_go_on(tmp_path, kind, beside, whole_on_modes):
    train(tmp_path / "run", ToyWorld(MODES), agent=kind(ONE_STEP, 2, 2), beside=beside)
    assert RunDirectory(tmp_path / "run").status["diverged"] == {"3": 6}
    assert RunDirectory(tmp_path / "run").status["state"] == "done"
    for name, text in records(tmp_path / "run").items():
        whole = whole_on_modes[kind][name]
        assert of_seed(text, 0) == of_seed(whole, 0)
        before = [row for row in of_seed(whole, 3) if int(row.split(",")[0]) <= (6, 5)[name[0] == "e"]]
        assert of_seed(text, 3) == before


@pytest.mark.parametrize("segment", range(2, 6))
@pytest.mark.parametrize("beside", [False, True])
def test_a_run_with_such_a_seed_that_is_cut_ends_with_the_same_records(tmp_path, segment, beside):
    def cut(what, done, total):
        if what == "training" and done == 2 * segment:
            raise Cut

    def run(path, **options):
        train(path, ToyWorld(MODES), agent=Lost(ONE_STEP, 2, 2), **options)

    run(tmp_path / "whole")
    with pytest.raises(Cut):
        run(tmp_path / "run", beside=beside, on_progress=cut)
    run(tmp_path / "run", beside=beside)
    assert records(tmp_path / "run") == records(tmp_path / "whole")
    assert RunDirectory(tmp_path / "run").status["diverged"] == {"3": 6}


def test_what_a_seed_was_given_beside_the_evaluation_at_which_it_is_lost_is_dropped(tmp_path):
    with RunDirectory(tmp_path / "run") as directory:
        recorder = Recorder(directory, (0, 3), Watch(say=lambda text: None))
        for step, loss in ((2, 0.5), (4, 0.5), (6, np.nan)):
            recorder.add_updates(step, {"loss": np.array([0.5, loss])})
        result = EpisodeResults(np.ones(1), np.ones(1), np.ones(1, int))
        recorder.add_evaluation(2, [result, None], 0.0)
    assert recorder.diverged == {3: 2}
    rows = [(row["step"], row["seed"]) for row in Table(tmp_path / "run" / "train.csv").rows]
    assert rows == [(2, 0), (2, 3), (4, 0), (6, 0)]


def test_a_folder_of_another_configuration_is_refused(tmp_path):
    with RunDirectory(tmp_path) as directory:
        directory.check_config({"agent": "rql", "hyperparameters": {"alpha": 1.0}})
        directory.check_config({"agent": "rql", "hyperparameters": {"alpha": 1.0}})
        with pytest.raises(UserError, match=r"hyperparameters.alpha: 1.0, not 3.0"):
            directory.check_config({"agent": "rql", "hyperparameters": {"alpha": 3.0}})


def test_two_processes_do_not_write_one_run(tmp_path):
    code = f"""
import sys; sys.path.insert(0, {str(__import__("pathlib").Path(__file__).parents[2])!r})
from pathlib import Path
from benchmark.runs.record import RunDirectory
from benchmark.runs.table import Table
with RunDirectory(Path({str(tmp_path)!r})):
    print("locked", flush=True)
    import time; time.sleep(60)
"""
    other = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    try:
        assert other.stdout.readline() == "locked\n"
        with pytest.raises(UserError, match="being written by another process"), RunDirectory(tmp_path):
            pass
    finally:
        other.send_signal(signal.SIGKILL)
        other.wait()
    time.sleep(0.1)
    with RunDirectory(tmp_path):
        pass


class Alternating(RQL):
    """RQL with a second kind of update, and a pattern that repeats it."""

    def update_value(self, state, batch):
        state, metrics = super().update(state, batch)
        return state, {"value_loss": metrics["value_loss"], "other": 2.0 * state.step}


def test_repeated_names_of_a_cycle_are_updates_one_after_another():
    data, agent, names = FakeWorld().data, Alternating(SMALL, O, D), ("update", "update_value", "update_value")
    together, metrics = run_segment(agent, init_states(agent, jnp.asarray([0])), data, 6, names)
    apart = init_states(agent, jnp.asarray([0]))
    for name in 2 * names:
        apart, _ = run_segment(agent, apart, data, 1, (name,))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7), together.params, apart.params)
    assert metrics["other"].tolist() == [2 * (3 + 6) / 2] and {"loss", "value_loss"} <= set(metrics)


@pytest.mark.parametrize("precision,word", [("bfloat16", "bf16"), ("tensorfloat32", "HIGH,"), ("float32", "HIGHEST")])
def test_all_matrix_products_have_the_precision_that_the_agent_asks_for(precision, word):
    agent = RQL(dataclasses.replace(SMALL, matmul_precision=precision), O, D)
    states, data = init_states(agent, jnp.asarray([0])), FakeWorld().data
    text = run_segment.lower(agent, states, data, 1, ("update",)).as_text()
    products = [line for line in text.splitlines() if "dot_general" in line]
    assert products and all(word in line for line in products)
    jax.block_until_ready(run_segment(agent, states, data, 1, ("update",)))


def test_a_metric_whose_name_has_a_comma_keeps_its_column(tmp_path):
    table = Table(tmp_path / "train.csv")
    table.add(1, 0, {"loss, of both": 0.5, "loss": 1.0})
    table.save()
    assert Table(table.path).rows == [{"step": 1, "seed": 0, "loss, of both": 0.5, "loss": 1.0}]
    assert table.path.read_text() == 'step,seed,"loss, of both",loss\n1,0,0.5,1\n'
