"""D4RL: mazes, data and records as the original has them, on the environments that can be had today."""

from __future__ import annotations

import contextlib
import functools
import json
import sys
import threading
import types
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from gymnasium.vector import SyncVectorEnv

from analysis import comparable, load_runs
from analysis.tabulating.runs import d4rl_table
from benchmark.common.errors import UserError
from benchmark.loop.worker import execute
from benchmark.planning.configure import configure
from benchmark.planning.plan import settings_for
from benchmark.planning.registry import agent_class
from benchmark.planning.suites import SUITES
from benchmark.planning.tuned import tuned
from benchmark.train import parse
from envs.d4rl import data as d4rl
from envs.d4rl import environments as d4rl_environments
from envs.d4rl.antmaze import GOAL_RADIUS, MAZES, MazeAnt
from envs.data import dataset
from envs.family import family_of
from envs.files import fetching, transfer
from envs.files import local as files
from envs.play import live
from envs.tasks import D4RL_TASKS, get_task

NAMES = [task.name for task in D4RL_TASKS]
UMAZE = get_task("antmaze-umaze-v2")


# ------------------------------------------------------------------------------------------------------ tasks


def test_the_suite_has_the_18_tasks_of_the_fql_paper_with_its_values() -> None:
    assert len(SUITES["d4rl"].tasks) == len(set(NAMES)) == 18
    assert sum(name.startswith("antmaze-") and name.endswith("-v2") for name in NAMES) == 6
    assert {tuple(name.split("-")[:2]) for name in NAMES if name.endswith("-v1")} == {
        (hand, kind) for hand in ("pen", "door", "hammer", "relocate") for kind in ("human", "cloned", "expert")
    }
    for agent in ("fql", "ifql"):
        cls = agent_class(agent)
        for task in D4RL_TASKS:
            config = configure(cls, settings_for(cls, task, tuned(agent, task.name)))
            assert (config.ensemble, config.chunk_length, config.discount) == (2, 1, 0.99)
    assert [tuned("fql", name)["alpha"] for name in ("antmaze-umaze-v2", "antmaze-large-play-v2")] == [10, 3]
    assert tuned("fql", "pen-expert-v1") == {"alpha": 3000, "ensemble": 2, "pessimism": 1}


def test_the_minimum_of_two_critics_is_their_mean_less_one_deviation() -> None:
    q = np.random.default_rng(0).normal(size=(2, 100))
    assert np.allclose(q.mean(0) - q.std(0), q.min(0))


# ------------------------------------------------------------------------------------------------ environments


@pytest.fixture(scope="module")
def umaze() -> MazeAnt:
    return MazeAnt("umaze")


def test_the_ant_is_d4rls(umaze: MazeAnt) -> None:
    model = umaze.model
    assert (model.opt.timestep, umaze.frame_skip, umaze.dt) == (0.02, 5, pytest.approx(0.1))
    assert np.all(model.actuator_gear[:, 0] == 30) and np.all(model.actuator_ctrlrange == [-1, 1])
    observation, _ = umaze.reset(seed=0)
    assert np.array_equal(observation, np.concatenate([umaze.data.qpos[:15], umaze.data.qvel[:14]]))
    assert len(umaze.data.qpos) == 15 and len(umaze.data.qvel) == 14


def test_walls_stand_where_the_maze_has_them(umaze: MazeAnt) -> None:
    model = umaze.model
    walls = {model.geom(i).name: model.geom(i) for i in range(model.ngeom) if model.geom(i).name.startswith("block_")}
    assert len(walls) == "".join(MAZES["umaze"].split()).count("#") == 18
    # Row 2, column 1 is just below the start of row 1, column 1, which is the origin.
    below = walls["block_2_1"]
    assert np.allclose(below.pos, [0, 4, 1]) and np.allclose(below.size, [2, 2, 1])
    assert np.allclose(walls["block_0_0"].pos, [-4, -4, 1])
    assert "block_1_2" not in walls and "block_3_1" not in walls


@pytest.mark.parametrize(("maze", "corner"), [("umaze", (0, 8)), ("medium", (20, 20)), ("large", (32, 24))])
def test_goals_are_drawn_anew_within_their_cell(maze: str, corner: tuple[float, float]) -> None:
    env = MazeAnt(maze)
    np.random.seed(0)
    goals = []
    for _ in range(300):
        env.reset()
        goals.append(env.goal - corner)
        assert np.all(np.abs(env.get_xy()) <= 0.1)
    goals = np.array(goals)
    # The sum of one offset up to 1 and one up to 0.5: mean 0.75, deviation 0.323.
    assert goals.min() >= 0 and goals.max() <= 1.5 and goals.max() > 1.3
    assert goals.mean(0) == pytest.approx([0.75, 0.75], abs=0.06)
    assert goals.std(0) == pytest.approx([0.323, 0.323], abs=0.04)


@pytest.mark.parametrize(("distance", "there"), [(GOAL_RADIUS - 0.2, True), (GOAL_RADIUS + 0.6, False)])
def test_reward_and_end_come_within_half_a_unit_of_the_goal(umaze: MazeAnt, distance: float, there: bool) -> None:
    umaze.reset(seed=1)
    umaze.set_xy(umaze.goal - np.array([0, distance]))
    _, reward, terminated, truncated, info = umaze.step(np.zeros(8))
    assert (reward, terminated, truncated, info["success"]) == (float(there), there, False, float(there))


@pytest.mark.parametrize(("name", "limit"), [("antmaze-umaze-v2", 700), ("antmaze-large-diverse-v2", 1000)])
def test_episodes_have_d4rls_limits(name: str, limit: int) -> None:
    env = d4rl_environments.make_env(name)
    env.reset(seed=0)
    ends = [env.step(np.zeros(8))[2:4] for _ in range(limit)]
    assert ends[-2:] == [(False, False), (False, True)]


def test_the_originals_come_first_where_they_can_be_had(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert {d4rl_environments.environment_of(task) for task in D4RL_TASKS} == {
        d4rl_environments.ANT,
        d4rl_environments.HAND,
    }

    class Old:
        """An environment with the interface of gym 0.21."""

        observation_space = types.SimpleNamespace(shape=(45,))
        action_space = types.SimpleNamespace(shape=(24,))
        steps = 0

        @property
        def unwrapped(self):
            return self

        def seed(self, seed):
            self.seeded = seed

        def reset(self):
            self.steps = 0
            return np.zeros(45)

        def step(self, action):
            self.steps += 1
            return np.ones(45), 2.0, self.steps == 30, {"goal_achieved": self.steps > 5}

    for name, module in (("mujoco_py", {}), ("d4rl", {}), ("gym", {"make": lambda name: Old()})):
        stub = types.ModuleType(name)
        stub.__dict__.update(module, __spec__=types.SimpleNamespace())
        monkeypatch.setitem(sys.modules, name, stub)
    monkeypatch.setattr(d4rl_environments, "MUJOCO_2_1", str(tmp_path))
    assert {d4rl_environments.environment_of(task) for task in D4RL_TASKS} == {d4rl_environments.ORIGINAL}
    env = d4rl_environments.make_env("pen-human-v1")
    observation, _ = env.reset(seed=7)
    assert observation.shape == (45,) and env.unwrapped.inner.seeded == 7
    results = [env.step(np.zeros(24)) for _ in range(30)]
    assert results[-1][2] and not results[-2][2]
    # The pen counts as turned once it was at its goal for more than 20 steps.
    assert [result[4]["success"] for result in results[24:27]] == [0.0, 1.0, 1.0]


@pytest.mark.parametrize("hand", ["pen", "door", "hammer", "relocate"])
def test_hands_are_named_as_another_environment_and_start_as_d4rls(hand: str) -> None:
    pytest.importorskip("gymnasium_robotics")
    name = f"{hand}-human-v1"
    assert d4rl_environments.record(get_task(name))["environment"] == d4rl_environments.HAND
    env = d4rl_environments.make_env(name)
    sizes = {"pen": (45, 24), "door": (39, 28), "hammer": (46, 26), "relocate": (39, 30)}
    observation, _ = env.reset(seed=0)
    assert (observation.size, env.action_space.shape[0]) == sizes[hand] and env.unwrapped.dt == pytest.approx(0.01)
    # Far from the goal D4RL's rewards are small or negative, whatever the sign that a release has.
    _, reward, _, _, info = env.step(np.zeros(sizes[hand][1]))
    assert info["success"] == 0 and reward < (2 if hand == "pen" else 0)


def test_a_fallen_pen_ends_the_episode() -> None:
    pytest.importorskip("gymnasium_robotics")
    env = d4rl_environments.make_env("pen-expert-v1")
    env.reset(seed=0)
    random = np.random.default_rng(0)
    for _ in range(100):
        _, reward, terminated, truncated, _ = env.step(random.uniform(-1, 1, 24))
        height = env.unwrapped.data.body("Object").xpos[2]
        assert terminated == (height < 0.075)
        if terminated:
            break
    assert terminated and not truncated and reward < -3


# ------------------------------------------------------------------------------------------------------- data


def recorded(path: Path, steps: int = 400, cut_every: int = 100, seed: int = 0) -> dict[str, np.ndarray]:
    """Step the umaze with random actions and write what happens in D4RL's layout; the goal is put on the ant's way."""
    h5py = pytest.importorskip("h5py")
    random = np.random.default_rng(seed)
    np.random.seed(seed)
    env = MazeAnt("umaze")
    rows: dict[str, list] = {name: [] for name in ("observations", "actions", "rewards", "terminals", "timeouts")}
    observation, _ = env.reset(seed=seed)
    for i in range(steps):
        action = random.uniform(-1, 1, 8)
        if i % cut_every == 40:
            env.goal = env.get_xy()
        following, reward, there, _, _ = env.step(action)
        cut = i % cut_every == cut_every - 1
        for name, value in zip(rows, (observation, action, reward, there, cut), strict=True):
            rows[name].append(value)
        # As in the original files, an episode goes on past its goal and is cut at a time.
        observation = env.reset()[0] if cut else following
    content = {
        "observations": np.array(rows["observations"], np.float32),
        "actions": np.array(rows["actions"], np.float32),
        "rewards": np.array(rows["rewards"], np.float32),
        "terminals": np.array(rows["terminals"], bool),
        "timeouts": np.array(rows["timeouts"], bool),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        for name, values in content.items():
            file.create_dataset(name, data=values, compression="gzip")
        file.create_dataset("infos/qpos", data=content["observations"][:, :15])
    return content


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    recorded(folder / files.d4rl_file(UMAZE.name))
    return folder


def test_a_file_becomes_the_transitions_that_d4rl_and_fql_make_of_it(folder: Path) -> None:
    path = folder / files.d4rl_file(UMAZE.name)
    rows = d4rl.read_rows(UMAZE, path)
    content = d4rl._read_file(path)
    kept = [i for i in range(399) if not content["timeouts"][i]]
    assert len(kept) == 396 and len(rows["rewards"]) == 396
    for row, i in enumerate(kept):
        assert np.array_equal(rows["next_observations"][row], content["observations"][i + 1])
        assert rows["rewards"][row] == content["rewards"][i] - 1 and rows["masks"][row] == 1 - content["terminals"][i]
        ends = row == 395 or i + 1 in np.flatnonzero(content["timeouts"])
        assert rows["terminals"][row] == ends, (row, i)
    assert content["rewards"].sum() > 0 and np.all((rows["rewards"] == 0) == (rows["masks"] == 0))
    data = dataset.load_d4rl(UMAZE, path, MazeAnt("umaze"))
    assert (data.size, data.first.shape[0], data.observation_dim, data.action_dim) == (396, 4, 29, 8)
    assert float(np.abs(data.actions).max()) <= 1 - 1e-5 + 1e-7


def test_a_mazes_live_rewards_are_those_of_its_data(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def here(makers: list, context: str, **options) -> SyncVectorEnv:
        return SyncVectorEnv(makers, **options)

    monkeypatch.setattr(live, "AsyncVectorEnv", here)
    rows = d4rl.read_rows(UMAZE, folder / files.d4rl_file(UMAZE.name))
    of_data = {(mask > 0, reward) for mask, reward in zip(rows["masks"], rows["rewards"], strict=True)}
    environments = family_of(UMAZE).open_live(UMAZE, [0, 1])
    environments.reset(np.ones(2, bool), 0)
    ants = [env.unwrapped for env in environments.env.envs]
    ants[1].goal = ants[1].get_xy()
    made = environments.step(np.zeros((2, 8)))
    assert made.rewards.tolist() == [-1, 0] and made.ended.tolist() == [False, True]
    assert set(zip(made.masks.tolist(), made.rewards.tolist(), strict=True)) == of_data


def test_a_hands_live_rewards_are_as_they_are() -> None:
    task = get_task("pen-human-v1")
    assert family_of(task).dataset_rewards(task, np.array([-0.5, 0.0, 61.0])).tolist() == [-0.5, 0, 61]


def test_an_adroit_trajectory_ends_at_a_terminal_and_its_rewards_are_as_they_are(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    path = tmp_path / "pen.hdf5"
    with h5py.File(path, "w") as file:
        file["observations"], file["actions"] = np.arange(8.0)[:, None], np.zeros((8, 1))
        file["rewards"], file["terminals"] = np.full((8, 1), 3.0), np.arange(8) == 2
    rows = d4rl.read_rows(get_task("pen-human-v1"), path)
    assert rows["terminals"].tolist() == [0, 0, 1, 0, 0, 0, 1] and rows["masks"].tolist() == [1, 1, 0, 1, 1, 1, 1]
    assert np.all(rows["rewards"] == 3)


def test_a_file_without_timeouts_is_cut_at_the_limit() -> None:
    done = np.zeros(1500, bool)
    done[99] = True
    assert np.flatnonzero(d4rl._cuts(done, UMAZE)).tolist() == [799, 1499]


def test_what_is_wrong_with_a_file_is_said(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    path = tmp_path / "file.hdf5"
    with pytest.raises(UserError, match="no dataset at"):
        d4rl.read_rows(UMAZE, path)
    path.write_bytes(b"\x89HDF\r\n\x1a\n and no more")
    with pytest.raises(UserError, match="damaged"):
        d4rl.read_rows(UMAZE, path)
    with h5py.File(path, "w") as file:
        file["observations"] = np.zeros((3, 29))
    with pytest.raises(UserError, match="no actions, rewards, terminals"):
        d4rl.read_rows(UMAZE, path)
    with h5py.File(path, "a") as file:
        file["actions"], file["rewards"], file["terminals"] = np.zeros((3, 8)), np.zeros(2), np.zeros(3)
    with pytest.raises(UserError, match="different lengths"):
        d4rl.read_rows(UMAZE, path)


def test_what_to_install_is_said_before_any_work(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(UserError, match=r"requirements-d4rl\.txt"):
        fetching.ensure_dataset(UMAZE.name, tmp_path, progress=False, bases=["http://127.0.0.1:9"])
    with pytest.raises(UserError, match=r"requirements-d4rl\.txt"):
        d4rl_environments.check_installed(UMAZE)


def test_files_are_asked_for_at_their_own_source() -> None:
    file = files.files_of("antmaze-large-play-v2")[0]
    assert file == ("d4rl/ant_maze_v2/Ant_maze_hardest-maze_noisy_multistart_True_multigoal_False_sparse_fixed.hdf5")
    assert fetching.addresses(file, fetching.DEFAULT_BASES) == [
        f"http://rail.eecs.berkeley.edu/datasets/offline_rl/{file.removeprefix('d4rl/')}"
    ]
    assert fetching.addresses(file, ["https://mirror/x"]) == [f"https://mirror/x/{file.removeprefix('d4rl/')}"]
    assert fetching.addresses("a.npz", ["https://mirror/x"]) == ["https://mirror/x/a.npz"]
    assert files.files_of("hammer-cloned-v1") == ["d4rl/hand_dapg_v1/hammer-cloned-v1.hdf5"]


def test_the_downloader_takes_a_file_that_is_there_and_knows_one_that_is_not(folder: Path) -> None:
    assert fetching.ensure_dataset(UMAZE.name, folder, progress=False) == folder / files.d4rl_file(UMAZE.name)
    record = json.loads((folder / f"{files.d4rl_file(UMAZE.name)}.json").read_text())
    assert (record["rows"], record["observation_dim"], record["action_dim"]) == (400, 29, 8)
    absent = files.missing([UMAZE.name, "pen-human-v1"], folder)
    assert absent == [("d4rl/hand_dapg_v1/pen-human-v1.hdf5", None)]


def test_a_file_is_fetched_and_checked(folder: Path, tmp_path: Path) -> None:
    with serving(folder / "d4rl") as base:
        path = fetching.ensure_dataset(UMAZE.name, tmp_path, progress=False, bases=[base])
        sizes = fetching.remote_sizes(files.files_of(UMAZE.name), [base], transfer.Patience())
    original = folder / files.d4rl_file(UMAZE.name)
    assert path.read_bytes() == original.read_bytes() and files.is_verified(path)
    assert sizes == {files.d4rl_file(UMAZE.name): original.stat().st_size}


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[str]:
    handler = functools.partial(QuietHandler, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.mark.parametrize("fault", ["half", "another"])
def test_a_file_that_is_no_whole_one_is_had_from_the_next_source(folder: Path, tmp_path: Path, fault: str) -> None:
    h5py = pytest.importorskip("h5py")
    name = files.d4rl_file(UMAZE.name)
    whole = (folder / name).read_bytes()
    bad, here = tmp_path / "bad" / name, tmp_path / "here" / name
    bad.parent.mkdir(parents=True)
    if fault == "half":
        bad.write_bytes(whole[: len(whole) // 2])
    else:
        with h5py.File(bad, "w") as file:
            file["observations"] = np.zeros((3, 29))
    here.parent.mkdir(parents=True)
    here.write_bytes(bad.read_bytes())
    patience = transfer.Patience(first_wait=0.01, rounds=3)
    with serving(tmp_path / "bad" / "d4rl") as first, serving(folder / "d4rl") as second:
        with pytest.raises(UserError, match=r"cannot fetch .*; the file here is damaged and stays in place"):
            fetching.ensure_dataset(UMAZE.name, tmp_path / "here", progress=False, bases=[first], patience=patience)
        assert here.read_bytes() == bad.read_bytes() and not list(here.parent.glob("*.part"))
        fetching.ensure_dataset(UMAZE.name, tmp_path / "here", False, bases=[first, second], patience=patience)
    assert here.read_bytes() == whole
    assert here.with_name(f"{here.name}.corrupt").read_bytes() == bad.read_bytes()


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


# ------------------------------------------------------------------------------------------------------- runs


@pytest.mark.slow
@pytest.mark.parametrize("agent", ["rql", "fql", "ifql"])
def test_agents_run_on_it_and_their_records_name_the_environment(agent: str, folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("h5py")
    small = ["hidden=16,16", "flow_steps=2", "batch_size=16", "ensemble=2"]
    arguments = [f"--agent={agent}", f"--task={UMAZE.name}", "--protocol=d4rl", "--steps=20", "--eval-episodes=1"]
    settings = [word for setting in small for word in ("--set", setting)]
    execute(parse([*arguments, f"--data-dir={folder}", f"--out={tmp_path}", *settings]), quiet=True)
    runs = load_runs(tmp_path)
    assert runs.runs["state"].tolist() == ["done"] and runs.runs["environment"].tolist() == [d4rl_environments.ANT]
    evaluations = pd.read_csv(Path(runs.runs["run"][0]) / "eval.csv")
    assert evaluations["step"].tolist() == [1, 20] and evaluations["length"].between(1, 700).all()
    assert any(d4rl_environments.ANT in note for note in comparable(runs).notes)
    table = d4rl_table(comparable(runs))
    assert table.rows[0][:2] == [UMAZE.name, d4rl_environments.ANT]
