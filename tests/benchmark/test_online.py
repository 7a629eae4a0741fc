"""Online fine-tuning: the replay is the dataset and more, each step makes one update, a stopped run goes on exactly."""

import csv
import dataclasses
import gc
import weakref

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agents.bdpo import BDPO
from agents.fql import FQL
from benchmark.common.errors import Stopped, UserError
from benchmark.common.reading import read_json
from benchmark.loop import online
from benchmark.loop.worker import execute
from benchmark.planning.from_options import online_from
from benchmark.planning.run import Run
from benchmark.planning.suites import get_suite
from benchmark.runs.protocol import Generated, Online, Protocol
from benchmark.runs.record import RunDirectory
from benchmark.runs.run import RunSpec
from benchmark.train import parse
from envs.data import replay
from envs.data.dataset import from_transitions
from envs.data.samplers import sample_sequences
from envs.family import family_of
from envs.play.live import identities
from envs.tasks import get_task
from envs.toy.tasks import TOYS
from envs.toy.world import ToyLive, ToyWorld
from tests.helpers.loop import training_of
from tests.helpers.worlds import D, O, transitions

SMALL = dict(hidden=(8,), batch_size=8, chunk_length=2)
PROTOCOL = Protocol(steps=12, eval_every=6, eval_episodes=3, eval_first=False, log_every=3, checkpoint_every=6)
ONLINE = Online(steps=18, start=5)


# ------------------------------------------------------------------------------------------------------- replay


def rows_of(made):
    """The transitions of `tests.helpers.worlds`, as what an environment would have given, and where episodes begin."""
    fields = {name: made[name] for name in ("observations", "actions", "rewards", "next_observations")}
    first = np.concatenate([[True], made["terminals"][:-1] > 0])
    return replay.Transition(**fields, masks=made["masks"] > 0), first


def filled(made, capacity):
    rows, first = rows_of(made)
    own = replay.empty(capacity, O, D)
    for i in range(len(first)):
        own = replay.add(own, jax.tree.map(lambda leaf: jnp.asarray(leaf[i]), rows), jnp.asarray(first[i]))
    return own


@pytest.mark.parametrize("chunk_length", [1, 3])
def test_windows_are_those_of_one_dataset_that_holds_the_replay_too(chunk_length):
    old, new = transitions((9, 1, 14, 3)), transitions((5, 2, 8), seed=1)
    both = {name: np.concatenate([old[name], new[name]]) for name in old}
    rng = jax.random.PRNGKey(0)
    wanted = sample_sequences(from_transitions(**both), rng, 200, chunk_length, 0.9)
    found = sample_sequences(replay.Joined(from_transitions(**old), filled(new, 40)), rng, 200, chunk_length, 0.9)
    for name in wanted._fields:
        np.testing.assert_allclose(getattr(found, name), getattr(wanted, name), rtol=1e-6, err_msg=name)
    assert 0 < wanted.valid.mean() <= 1


def test_a_replay_is_the_same_after_writing_and_reading():
    own = jax.tree.map(lambda leaf: leaf[None], filled(transitions((5, 2, 8)), 40))
    nothing = jax.tree.map(lambda leaf: leaf[None], replay.empty(40, O, D))
    again = replay.from_arrays(nothing, replay.to_arrays(own, 0, 15))
    jax.tree.map(np.testing.assert_array_equal, own, again)


# --------------------------------------------------------------------------------------------------------- runs


def train(path, agent, task="toy-detour", protocol=PROTOCOL, phase=ONLINE, seeds=(0, 3), **options):
    task = get_task(task)
    with RunDirectory(path) as directory:
        live = family_of(task).open_live(task, seeds)
        training = training_of(directory, agent, protocol, ToyWorld(task), seeds, online=phase, live=live, **options)
        training.run()
    return training


class Cut(Exception):
    pass


AGENT = FQL(FQL.Config(**SMALL, ensemble=2, flow_steps=2), 2, 2)


def records(path):
    return {name: (path / name).read_text() for name in ("train.csv", "eval.csv")}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    path = tmp_path_factory.mktemp("whole") / "run"
    return train(path, AGENT), path


def test_steps_count_on_and_evaluations_keep_their_schedule(whole):
    training, path = whole
    steps = [int(row["step"]) for row in csv.DictReader((path / "eval.csv").open()) if row["seed"] == "0"]
    assert steps == [6, 12, 18, 24, 30]
    steps = [int(row["step"]) for row in csv.DictReader((path / "train.csv").open()) if row["seed"] == "3"]
    assert steps == [3, 6, 9, 12, 18, 21, 24, 27, 30], "no row where there was no update"
    assert training.states.step.tolist() == [12 + 18 - 5] * 2
    status = RunDirectory(path).status
    assert (status["state"], status["step"], status["steps"]) == ("done", 30, 30)


def test_what_is_due_between_rows_is_done_where_intervals_are_no_multiples_of_one_another(tmp_path):
    protocol = Protocol(steps=12, eval_every=10, eval_episodes=3, eval_first=False, log_every=4, checkpoint_every=9)

    def cut(what, now, total):
        if what == "training" and now == 20:
            raise Cut

    train(tmp_path / "run", AGENT, protocol=protocol)
    steps = [int(row["step"]) for row in csv.DictReader((tmp_path / "run/eval.csv").open()) if row["seed"] == "0"]
    assert steps == [10, 12, 20, 30]
    with pytest.raises(Cut):
        train(tmp_path / "cut", AGENT, protocol=protocol, on_progress=cut)
    said = []
    train(tmp_path / "cut", AGENT, protocol=protocol, say=said.append)
    assert "continuing from step 18" in said and records(tmp_path / "cut") == records(tmp_path / "run")


def test_every_step_is_in_the_replay_as_the_environment_gave_it(whole):
    training, _ = whole
    own = training.replay.replays
    assert own.size.tolist() == [18, 18]
    rows = jax.tree.map(np.asarray, own.transitions)
    reached, _, _ = TOYS["toy-detour"]().step(rows.observations.reshape(-1, 2), rows.actions.reshape(-1, 2))
    np.testing.assert_allclose(rows.next_observations.reshape(-1, 2), reached, atol=1e-6)
    follows = own.episode[:, 1:] == own.episode[:, :-1]
    np.testing.assert_array_equal(
        np.asarray(rows.observations[:, 1:])[follows], np.asarray(rows.next_observations[:, :-1])[follows]
    )
    assert own.episodes.tolist() == [3, 3], "cut at the checkpoints of steps 18 and 24, not at the end"


@pytest.mark.parametrize("done", [6, 12, 15, 18, 21, 27])
def test_a_run_cut_at_any_row_ends_with_the_same_records(whole, tmp_path, done):
    def cut(what, now, total):
        if what == "training" and now == done:
            raise Cut

    with pytest.raises(Cut):
        train(tmp_path / "run", AGENT, on_progress=cut)
    training = train(tmp_path / "run", AGENT)
    assert records(tmp_path / "run") == records(whole[1])
    jax.tree.map(np.testing.assert_array_equal, training.replay.replays, whole[0].replay.replays)


def test_a_run_that_is_asked_to_stop_off_schedule_says_from_where_it_will_go_on(tmp_path):
    at, said = [], []
    with pytest.raises(Stopped, match="asked to stop; saved at step 18"):
        train(
            tmp_path / "run",
            AGENT,
            on_progress=lambda what, now, total: at.append(now) if what == "training" else None,
            should_stop=lambda: at[-1:] == [18],
        )
    assert at[-1] == 21
    train(tmp_path / "run", AGENT, say=said.append)
    assert "continuing from step 18" in said


def test_nothing_but_the_world_holds_a_shard_while_the_offline_phase_learns(tmp_path, monkeypatch):
    given, alive = [], []

    class Sharded(ToyWorld):
        def data_for(self, update):
            data = jax.tree.map(jnp.copy, self.data)
            given.append(weakref.ref(data))
            return data

    def learn(training):
        gc.collect()
        alive.append(sum(each() is not None for each in given))
        raise Cut

    monkeypatch.setattr(online.Training, "learn", learn)
    with RunDirectory(tmp_path) as directory, pytest.raises(Cut):
        task = get_task("toy-detour")
        live = family_of(task).open_live(task, (0,))
        training_of(directory, AGENT, PROTOCOL, Sharded(task), (0,), online=ONLINE, live=live).run()
    assert given and alive == [0]


def test_nothing_is_learned_before_the_phases_first_update(whole, tmp_path):
    without = train(tmp_path / "run", AGENT, phase=Online(18, start=18))
    assert without.states.step.tolist() == [12, 12]
    steps = [int(row["step"]) for row in csv.DictReader((tmp_path / "run" / "train.csv").open())]
    assert max(steps) == 12
    rows = [np.asarray(training.replay.replays.transitions.actions) for training in (without, whole[0])]
    np.testing.assert_array_equal(rows[0][:, :5], rows[1][:, :5])
    assert not np.array_equal(rows[0][:, 8:], rows[1][:, 8:]), "the policy that acts is the one that learns"


def test_a_fixed_pattern_of_updates_goes_on(tmp_path, monkeypatch):
    names = []
    plain = online.update
    monkeypatch.setattr(online, "update", lambda *a: names.append(a[-1]) or plain(*a))
    config = BDPO.Config(
        **SMALL, ensemble=2, candidates=2, diffusion_steps=2, pretraining_steps=3, critic_warmup=0, actor_every=3
    )
    train(tmp_path / "run", BDPO(config, 2, 2), phase=Online(7, start=0), seeds=(0,))
    assert names == ["update_critics", "update_critics", "update"] * 2 + ["update_critics"]


def test_an_agent_is_fine_tuned_by_the_command_of_any_run(tmp_path):
    suite = get_suite("toy")
    spec = RunSpec(
        "bc", "toy-modes", (1,), SMALL | {"chunk_length": 1}, PROTOCOL, str(tmp_path), suite.name, online=ONLINE
    )
    assert RunSpec.from_json(spec.to_json()) == spec
    execute(spec, quiet=True)
    config = read_json(spec.path / "config.json")
    assert config["protocol"]["online_steps"] == 18 and config["protocol"]["online_start"] == 5
    assert "episodes of its own" in (spec.path / "log.txt").read_text()
    assert "online_steps" not in Run(dataclasses.replace(spec, online=None)).config["protocol"]


def test_options_of_the_phase():
    assert online_from(None, None) is None
    assert online_from("1e4", None) == Online(10_000, 5_000)
    assert online_from("20", "3") == Online(20, 3)
    with pytest.raises(UserError, match="--online-start needs --online-steps"):
        online_from(None, "3")
    with pytest.raises(UserError, match="--online-steps must be a whole number"):
        parse(["--agent=bc", "--task=toy-modes", "--online-steps=many"])


# ------------------------------------------------------------------------------------------------- environments


def test_a_toys_rewards_and_masks_are_those_of_its_data():
    for name, toy in TOYS.items():
        made = toy().rows(np.random.default_rng(0))
        rewards, masks = toy().labels(made["observations"], made["actions"])
        np.testing.assert_allclose(rewards, made["rewards"], atol=1e-5)
        np.testing.assert_array_equal(masks, made["masks"], err_msg=name)


def test_an_episode_depends_on_its_seed_and_first_step_alone_and_ends_once_solved():
    task = get_task("toy-detour")

    def first(seeds, step):
        return ToyLive(task, seeds).reset(np.ones(len(seeds), bool), step)

    np.testing.assert_array_equal(first([4, 9], 100)[1], first([9], 100)[0])
    assert not np.array_equal(first([9], 100), first([9], 101))
    assert len(set(identities(range(50), 7))) == 50
    live = ToyLive(task, [0])
    live.reset(np.ones(1, bool), 0)
    live.states = np.array([[0.62, 0.7]]) - [[live.toy.radius, 0]]
    steps = [live.step(np.array([[1.0, 0.0]])) for _ in range(3)]
    reached = next(i for i, made in enumerate(steps) if made.success[0])
    assert not steps[reached].ended[0] and steps[reached].masks[0], "the step that solves is of an unsolved state"
    assert steps[reached + 1].ended[0] and not steps[reached + 1].masks[0] and steps[reached + 1].rewards[0] == 0


@pytest.mark.slow
def test_real_environments_give_what_their_datasets_hold():
    task = get_task("cube-single-play-singletask-task1-v0")
    live = family_of(task).open_live(task, [3, 8])
    try:
        begin = live.reset(np.ones(2, bool), 0)
        made = live.step(np.zeros((2, 5)))
        assert made.rewards.tolist() == [-1, -1] and made.masks.all() and not made.ended.any()
        kept = live.reset(np.array([False, True]), 50)
        np.testing.assert_array_equal(kept[0], made.next_observations[0])
        again = live.reset(np.ones(2, bool), 0)
        np.testing.assert_array_equal(again, begin)
    finally:
        live.close()


@pytest.mark.slow
def test_a_real_task_is_fine_tuned(tmp_path):
    task = "cube-single-play-singletask-task1-v0"
    settings = dict(hidden=[8], batch_size=8)
    data = dict(data=Generated(1000), data_dir=str(tmp_path / "data"))
    spec = RunSpec("bc", task, (0, 1), settings, PROTOCOL, str(tmp_path), online=Online(24, 5), **data)
    execute(spec, quiet=True)
    assert read_json(spec.path / "status.json")["step"] == 36
    parts = [dict(np.load(path)) for path in (spec.path / "replay").iterdir()]
    assert sum(part["actions"].shape[1] for part in parts) == 24
    assert all((part["rewards"] == -1).all() for part in parts)
