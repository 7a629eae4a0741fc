"""Evaluation in worker processes: exact episodes, open-loop chunks, reproducibility, failures, no orphans."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from pathlib import Path

import gymnasium
import numpy as np
import pytest

from envs.play.pool import EvaluationError, EvaluationPool, NotFinite
from envs.play.worker import make_task_env, reset_episode, task_number

EPISODES = 7
CHUNK = 3


class Clockwork(gymnasium.Env):
    """Episodes of 1 to 12 steps; the observation is (length, steps done, own noise, global noise, task).

    Reward is the first action. Success is 1 at every step but the last, where it is 1 for even lengths only.
    The second action breaks the environment: 0.6 raises, 0.9 kills the process, 0.7 hangs.
    """

    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (5,))
    action_space = gymnasium.spaces.Box(-1.0, 1.0, (2,))

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.length = int(self.np_random.integers(1, 13))
        self.steps = 0
        self.noise = (self.np_random.uniform(), np.random.uniform())
        self.task = (options or {}).get("task_id", 0)
        return self._observation(), {}

    def step(self, action):
        if action[1] > 0.8:
            os.kill(os.getpid(), signal.SIGKILL)
        if action[1] > 0.65:
            time.sleep(600)
        if action[1] > 0.55:
            raise RuntimeError("the arm fell off")
        self.steps += 1
        done = self.steps == self.length
        success = float(not done or self.length % 2 == 0)
        return self._observation(), float(action[0]), done, False, {"success": success}

    def _observation(self):
        return np.array([self.length, self.steps, *self.noise, self.task], np.float64)


def make_broken_env():
    raise OSError("no meshes here")


class Recorder:
    """A policy whose actions depend on observation and ids alone; remembers what it was asked."""

    def __init__(self, horizon: int = CHUNK, dimension: int = 2) -> None:
        self.shape = (horizon, dimension)
        self.seen: dict[tuple[int, ...], np.ndarray] = {}
        self.batches: set[tuple[int, ...]] = set()

    def __call__(self, observations: np.ndarray, ids: np.ndarray) -> np.ndarray:
        self.batches.add(observations.shape)
        actions = np.zeros((*ids.shape[:2], *self.shape))
        for place in np.ndindex(ids.shape[:2]):
            self.seen.setdefault(tuple(ids[place].tolist()), observations[place])
            noise = np.random.default_rng(ids[place]).uniform(-0.5, 0.5, self.shape)
            actions[place] = noise + 0.01 * np.sin(observations[place].sum())
        return actions

    def of(self, seed: int) -> dict[tuple[int, ...], np.ndarray]:
        return {ids: observation for ids, observation in self.seen.items() if ids[0] == seed}


def play_sequentially(env, policy, seed, episodes, step, task_id=None):
    """The plain loop that the pool must agree with: one environment, batch size 1."""
    rows = []
    for episode in range(episodes):
        observation, done, total, length = reset_episode(env, (seed, step, episode), task_id), False, 0.0, 0
        queue: list[np.ndarray] = []
        while not done:
            if not queue:
                ids = np.array([[[seed, step, episode, length // policy.shape[0]]]], np.uint32)
                queue = list(np.clip(policy(observation[None, None].astype(np.float32), ids)[0, 0], -1, 1))
            raw, reward, terminated, truncated, info = env.step(queue.pop(0).astype(np.float32))
            observation, done = np.asarray(raw), terminated or truncated
            total, length = total + reward, length + 1
        rows.append((info["success"], total, length))
    return np.array(rows, float)


def table(result):
    return np.stack([result.success, result.returns, result.lengths], axis=1)


def assert_same_observations(left: dict, right: dict) -> None:
    assert left.keys() == right.keys()
    for ids in left:
        np.testing.assert_array_equal(left[ids], right[ids], err_msg=str(ids))


def children_of(pid: int) -> list[int]:
    """All descendants of a process, from /proc."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
    found = [pid]
    for candidate in found:
        found += [child for child, parent in parents.items() if parent == candidate]
    return found[1:]


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_until_gone(pids: list[int], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while remaining := [pid for pid in pids if alive(pid)]:
        assert time.monotonic() < deadline, f"processes {remaining} still run"
        time.sleep(0.02)


@pytest.fixture(scope="module")
def clockwork():
    with EvaluationPool("clockwork", slots=EPISODES, make_env=Clockwork) as pool:
        yield pool


def test_results_equal_the_sequential_loop_for_any_number_of_slots(clockwork):
    """Seed 4 gets 7, 3 and 1 of the slots, as 1, 2 and 7 runs share them."""
    reference, policy = play_sequentially(Clockwork(), Recorder(), 4, EPISODES, 100), Recorder()
    assert len(set(reference[:, 2])) > 2, "the episodes must be of unequal lengths for this test to say anything"
    for seeds in ([4], [9, 4], [0, 1, 2, 3, 4, 5, 6]):
        policy = Recorder()
        result = clockwork.evaluate(policy, seeds, EPISODES, 100)[seeds.index(4)]
        np.testing.assert_allclose(table(result), reference, rtol=1e-5)
        assert policy.batches == {(len(seeds), EPISODES // len(seeds), 5)}, "the batch's shape must not change"


def test_every_episode_counts_once_and_depends_on_seed_step_and_index(clockwork):
    first, other_step = Recorder(), Recorder()
    results = clockwork.evaluate(first, [1, 2], EPISODES, 10)
    clockwork.evaluate(other_step, [1, 2], EPISODES, 20)
    assert all(len(result.lengths) == EPISODES for result in results)
    starts = {ids[:3]: tuple(observation) for ids, observation in (first.seen | other_step.seen).items() if ids[3] == 0}
    assert len(starts) == 2 * 2 * EPISODES
    assert len({start[2] for start in starts.values()}) == len(starts), "the environment's generator repeats"
    assert len({start[3] for start in starts.values()}) == len(starts), "numpy's global generator repeats"


@pytest.mark.parametrize("horizon", [1, 5])
def test_chunks_are_executed_open_loop_in_order_and_clipped(clockwork, horizon):
    """The action of step t says t, so the sum of rewards is known; from step 10 on it would exceed 1."""

    def policy(observations, ids):
        steps = ids[..., 3:] * horizon + np.arange(horizon)
        return np.stack([0.1 * steps, np.zeros_like(steps)], axis=-1)

    (result,) = clockwork.evaluate(policy, [3], EPISODES, 0)
    expected = [np.minimum(0.1 * np.arange(length), 1.0).sum() for length in result.lengths]
    np.testing.assert_allclose(result.returns, expected, rtol=1e-5)


def test_success_is_that_of_the_last_step(clockwork):
    (result,) = clockwork.evaluate(Recorder(), [5], 20, 0)
    assert set(result.lengths % 2) == {0, 1}
    np.testing.assert_array_equal(result.success, result.lengths % 2 == 0)


def test_runs_that_are_not_active_are_left_out(clockwork):
    alone, beside = Recorder(), Recorder()
    (expected,) = clockwork.evaluate(alone, [2], EPISODES, 0)
    results = clockwork.evaluate(beside, [1, 2, 3], EPISODES, 0, active=[False, True, False])
    assert results[0] is None and results[2] is None
    np.testing.assert_array_equal(table(results[1]), table(expected))


def test_progress_counts_up_to_the_total(clockwork):
    calls = []
    clockwork.evaluate(Recorder(), [0, 1], 5, 0, on_progress=lambda *call: calls.append(call))
    assert calls[-1] == (10, 10)
    assert [done for done, _ in calls] == sorted({done for done, _ in calls})


def test_evaluates_in_a_thread(clockwork):
    results = []
    thread = threading.Thread(target=lambda: results.extend(clockwork.evaluate(Recorder(), [6], EPISODES, 0)))
    thread.start()
    thread.join(20)
    np.testing.assert_array_equal(table(results[0]), table(clockwork.evaluate(Recorder(), [6], EPISODES, 0)[0]))


def test_a_bad_policy_is_named_and_leaves_the_pool_usable(clockwork):
    def diverged(observations, ids):
        actions = np.zeros((*ids.shape[:2], CHUNK, 2))
        actions[ids[..., 0] == 8, 0, 0] = np.nan
        return actions

    with pytest.raises(NotFinite, match=r"run seed 8 .*non-finite.* step 30, episode 0, chunk 0") as raised:
        clockwork.evaluate(diverged, [7, 8], 2, 30)
    assert raised.value.runs == (1,)
    with pytest.raises(EvaluationError, match=r"shape \(1, 2, 2\)"):
        clockwork.evaluate(lambda observations, ids: np.zeros((1, 2, 2)), [7], 2, 30)
    np.testing.assert_allclose(
        table(clockwork.evaluate(Recorder(), [4], EPISODES, 100)[0]),
        play_sequentially(Clockwork(), Recorder(), 4, EPISODES, 100),
        rtol=1e-5,
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(seeds=range(8)), "8 runs cannot share 7 slots"),
        (dict(seeds=[]), "0 runs"),
        (dict(episodes=0), "episodes is 0"),
        (dict(seeds=[-1]), "seed -1"),
        (dict(step=2**32), "step 4294967296"),
        (dict(active=[True, True]), "active has 2 entries for 1 runs"),
    ],
)
def test_what_cannot_be_played_is_refused(clockwork, arguments, message):
    with pytest.raises(ValueError, match=message):
        clockwork.evaluate(Recorder(), **{"seeds": [0], "episodes": 2, "step": 0, **arguments})


@pytest.mark.parametrize(
    ("action", "message"),
    [
        (0.6, r"(?s)clockwork: the environment failed .*run seed 2.*episode \d.*RuntimeError: the arm fell off"),
        (0.7, r"clockwork: no reply for 2 s \(slot \d, run seed 2, step 0, episode \d\)"),
        (0.9, r"clockwork: the worker process died \(slot \d, run seed 2, step 0, episode \d\)"),
    ],
)
def test_a_failing_worker_is_reported_and_ends_the_pool(action, message):
    def policy(observations, ids):
        actions = np.zeros((*ids.shape[:2], CHUNK, 2))
        actions[ids[..., 0] == 2, :, 1] = action
        return actions

    with EvaluationPool("clockwork", slots=2, make_env=Clockwork, reply_timeout=2 if action == 0.7 else 60) as pool:
        pool.ready()
        workers = [pool._nursery.pid, *children_of(pool._nursery.pid)]
        assert len(workers) == 3
        with pytest.raises(EvaluationError, match=message):
            pool.evaluate(policy, [1, 2], 3, 0)
        wait_until_gone(workers, 2.0)
        with pytest.raises(EvaluationError, match="closed"):
            pool.evaluate(policy, [1, 2], 3, 0)


def test_an_environment_that_cannot_be_made_is_reported():
    with (
        EvaluationPool("clockwork", slots=2, make_env=make_broken_env) as pool,
        pytest.raises(EvaluationError, match=r"(?s)clockwork: .*could not be made.*OSError: no meshes here"),
    ):
        pool.ready()


def test_closing_ends_all_processes_quickly_even_one_that_hangs():
    pool = EvaluationPool("clockwork", slots=3, make_env=Clockwork)
    pool.ready()
    errors = []

    def hang():
        try:
            pool.evaluate(lambda observations, ids: np.full((1, 3, 1, 2), 0.7), [0], 3, 0)
        except EvaluationError as error:
            errors.append(error)

    thread = threading.Thread(target=hang)
    thread.start()
    time.sleep(0.2)
    workers = [pool._nursery.pid, *children_of(pool._nursery.pid)]
    start = time.monotonic()
    pool.close()
    assert time.monotonic() - start < 2.0
    thread.join(2.0)
    assert len(errors) == 1
    wait_until_gone(workers, 0.5)


class SlowToClose(Connection):
    """A connection whose closing takes so long that another thread can begin to close it too."""

    def _close(self):
        time.sleep(0.1)
        super()._close()


def test_threads_that_close_at_once_close_each_file_once():
    pool = EvaluationPool("clockwork", slots=2, make_env=Clockwork)
    pool.ready()
    with pool._control as control:
        pool._control = SlowToClose(os.dup(control.fileno()))
    pool._connections = [SlowToClose(os.dup(connection.fileno())) for connection in pool._connections]
    with ThreadPoolExecutor(4) as threads:
        for closing in [threads.submit(pool.close) for _ in range(4)]:
            closing.result(5.0)
    wait_until_gone([pool._nursery.pid], 0.5)


def test_workers_end_when_the_caller_is_killed():
    script = (
        "import time; from envs.play.pool import EvaluationPool\n"
        "from tests.envs.test_pool import Clockwork\n"
        "def policy(observations, ids): print('playing', flush=True); time.sleep(600)\n"
        "EvaluationPool('clockwork', slots=3, make_env=Clockwork).evaluate(policy, [0], 3, 0)"
    )
    root = Path(__file__).resolve().parents[2]
    with subprocess.Popen([sys.executable, "-c", script], cwd=root, stdout=subprocess.PIPE, text=True) as caller:
        assert caller.stdout is not None and caller.stdout.readline() == "playing\n"
        workers = children_of(caller.pid)
        assert len(workers) == 4
        caller.kill()
        wait_until_gone(workers, 2.0)


@pytest.mark.parametrize(
    ("task", "dimension"),
    [
        ("cube-single-play-singletask-task2-v0", 5),
        ("antmaze-medium-navigate-singletask-task3-v0", 8),
        ("pointmaze-medium-navigate-singletask-task1-v0", 2),
    ],
)
def test_real_environments_repeat_exactly_for_any_number_of_slots(task, dimension):
    """Every observation that the policy saw for seed 4 is the same with 1, 2 and 5 slots, and again with 5."""
    with EvaluationPool(task, slots=5, max_episode_steps=12) as pool:
        seen = []
        for seeds in ([4], [4], [4, 0], [0, 1, 4, 2, 3]):
            policy = Recorder(4, dimension)
            results = pool.evaluate(policy, seeds, 5 if len(seeds) < 5 else 3, 1000)
            assert all((result.lengths <= 12).all() and (result.returns <= 0).all() for result in results)
            seen.append(policy.of(4))
    assert_same_observations(seen[0], seen[1])
    assert_same_observations(seen[0], seen[2])
    assert_same_observations({ids: seen[0][ids] for ids in seen[3]}, seen[3])
    starts = [observation for ids, observation in seen[0].items() if ids[3] == 0]
    assert len(starts) == 5 and len(np.unique(np.stack(starts), axis=0)) == 5


@pytest.mark.parametrize(
    "task",
    [
        "cube-double-play-singletask-task2-v0",
        "scene-play-singletask-task4-v0",
        "puzzle-3x3-play-singletask-task1-v0",
        "antmaze-large-navigate-singletask-v0",
    ],
)
def test_the_whole_simulation_repeats_whatever_was_played_before(task):
    """To the bit, with the solver's warm start and the contact forces that no observation shows."""
    env = make_task_env(task)
    env.reset()
    data, random, begun, ended = env.unwrapped.data, np.random.default_rng(0), [], []
    actions = random.uniform(-1, 1, (10, *env.action_space.shape)).astype(np.float32)
    for before in range(3):
        reset_episode(env, (1, before, 0), task_number(task))
        for _ in range(3 * before):
            env.step(random.uniform(-1, 1, env.action_space.shape))
        reset_episode(env, (0, 4800, 11), task_number(task))
        begun.append([data.qpos.copy(), data.qvel.copy(), data.ctrl.copy(), data.qacc_warmstart.copy()])
        for action in actions:
            env.step(action)
        ended.append([data.qpos.copy(), data.qvel.copy(), data.cfrc_ext.copy()])
    for states in (begun, ended):
        for state in states[1:]:
            for array, first in zip(state, states[0], strict=True):
                np.testing.assert_array_equal(array, first)


@pytest.mark.parametrize(
    ("task", "dimension", "parts"),
    [
        ("pointmaze-medium-navigate-singletask-task2-v0", 2, []),
        ("cube-single-play-singletask-task2-v0", 5, ["block 0"]),  # lean in the pool, as OGBench makes it in the loop
    ],
)
def test_a_real_environment_agrees_with_the_sequential_loop(task, dimension, parts):
    env = gymnasium.wrappers.TimeLimit(make_task_env(task), 10)  # it ends within a chunk
    env.reset()
    one, many = Recorder(4, dimension), Recorder(4, dimension)
    expected = play_sequentially(env, one, 4, 3, 5, task_id=2)
    with EvaluationPool(task, slots=2, max_episode_steps=10) as pool:
        (result,) = pool.evaluate(many, [4], 3, 5)
    np.testing.assert_allclose(table(result), expected)
    assert_same_observations(one.seen, many.seen)
    assert list(result.parts) == parts


def test_the_task_in_the_name_is_the_one_played():
    assert task_number("cube-double-play-singletask-v0") is None
    policy = Recorder()
    with EvaluationPool("clockwork-singletask-task3-v0", slots=2, make_env=Clockwork) as pool:
        pool.evaluate(policy, [0], 2, 0)
    assert {observation[4] for observation in policy.seen.values()} == {3.0}


def test_evaluation_does_not_import_jax():
    code = "import sys, envs.play.pool, envs.play.worker; sys.exit('jax' in sys.modules)"
    root = Path(__file__).resolve().parents[2]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0
