"""Generated datasets: reproducible, in OGBench's format, written whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest

from benchmark.common.errors import UserError
from benchmark.launching.front_door import prepare
from benchmark.planning.protocols import get_protocol
from benchmark.planning.run import Run
from benchmark.runs.protocol import Generated
from benchmark.runs.run import RunSpec
from envs import download
from envs.data import origin
from envs.files.local import adopt, dataset_names, record_path
from envs.generate import main
from envs.ogbench import episodes
from envs.ogbench import generating as module
from envs.ogbench.episodes import RECIPES, TRAIN, WITH_BALL, Collector, find_recipe, open_expert
from envs.ogbench.generating import generate

LENGTH = 40  # rows per episode


def small(path: Path, workers: int, seed: int = 0, transitions: int = 2 * (LENGTH - 1), **options) -> Path:
    """Two training episodes and one for validation of cube-single-play."""
    return generate("cube-single-play", transitions, seed, path, workers, False, LENGTH, **options)


def equal(first: dict, second: dict) -> bool:
    return first.keys() == second.keys() and all(np.array_equal(first[key], second[key]) for key in first)


@pytest.fixture(scope="module")
def cube(tmp_path_factory) -> Path:
    """A small dataset made by one process."""
    return small(tmp_path_factory.mktemp("cube") / "cube-single-play-v0.npz", workers=1)


@pytest.fixture(scope="module")
def collector() -> Collector:
    return Collector("cube-single-play", LENGTH)


def test_number_of_workers_changes_nothing(cube, tmp_path):
    other = small(tmp_path / cube.name, workers=2)
    assert other.read_bytes() == cube.read_bytes()
    assert module.validation_path(other).read_bytes() == module.validation_path(cube).read_bytes()


def test_file_has_the_published_form(cube):
    data = dict(np.load(cube))
    rows = 2 * LENGTH
    forms = {key: (value.shape, value.dtype) for key, value in data.items()}
    assert forms == {
        "observations": ((rows, 28), np.float32),
        "actions": ((rows, 5), np.float32),
        "terminals": ((rows,), np.bool_),
        "qpos": ((rows, 21), np.float32),
        "qvel": ((rows, 20), np.float32),
    }
    assert np.flatnonzero(data["terminals"]).tolist() == [LENGTH - 1, 2 * LENGTH - 1]
    assert np.abs(data["actions"]).max() <= 1
    assert len(np.load(module.validation_path(cube))["actions"]) == LENGTH


def test_ogbench_loads_and_relabels_the_file(cube):
    ogbench = pytest.importorskip("ogbench")
    _, train, validation = ogbench.make_env_and_datasets("cube-single-play-singletask-task1-v0", dataset_path=str(cube))
    assert train["observations"].shape == train["next_observations"].shape == (2 * (LENGTH - 1), 28)
    assert validation["rewards"].shape == (LENGTH - 1,)
    assert set(np.unique(train["rewards"])) <= {-1.0, 0.0}


def test_rows_follow_one_another(cube):
    """The arm's first six observations are joint angles, which `qpos` holds too: both from before the action."""
    data = np.load(cube)
    np.testing.assert_array_equal(data["observations"][:, :6], data["qpos"][:, :6])


def test_training_validation_seeds_and_shards_are_different_episodes(collector):
    made = [collector.episode(*key)["actions"] for key in ((0, 0, 0, 0), (0, 0, 0, 1), (0, 0, 1, 0), (0, 1, 0, 0))]
    made.append(collector.episode(1, 0, 0, 0)["actions"])
    assert len({actions.tobytes() for actions in made}) == len(made)


def test_episode_does_not_depend_on_the_episodes_before(cube, collector):
    """In the file, episode 1 followed episode 0; here other episodes come before, and numpy's state is another."""
    collector.episode(5, 0, TRAIN, 7)
    np.random.seed(99)
    again = collector.episode(0, 0, TRAIN, 1)
    with np.load(cube) as stored:
        assert equal(again, {key: stored[key][LENGTH:] for key in stored.files})


def test_record_says_what_made_the_file(cube):
    record = json.loads(record_path(cube).read_text())
    assert record["source"] == "generated"
    assert (record["dataset"], record["seed"], record["episode_length"]) == ("cube-single-play-v0", 0, LENGTH)
    assert (record["transitions"], record["rows"]) == (2 * (LENGTH - 1), 2 * LENGTH)
    assert record["sha256"] == hashlib.sha256(cube.read_bytes()).hexdigest()
    assert record["size"] == cube.stat().st_size
    assert {"mujoco", "ogbench"} <= record["versions"].keys()


def test_same_request_keeps_the_file_and_another_is_refused(cube, monkeypatch):
    monkeypatch.setattr(module, "collect", lambda *_: pytest.fail("generated again"))
    assert small(cube, workers=1) == cube
    with pytest.raises(UserError, match=r"seed 0 \(asked: 1\)"):
        small(cube, workers=1, seed=1)


def test_file_of_unknown_origin_is_not_overwritten(tmp_path):
    path = tmp_path / "cube-single-play-v0.npz"
    path.write_bytes(b"published")
    with pytest.raises(UserError, match="not a whole file that was generated here"):
        small(path, workers=1)
    assert path.read_bytes() == b"published"


def test_failure_while_writing_leaves_nothing(tmp_path, monkeypatch):
    def half(file, **_):
        file.write(b"half")
        raise OSError("disk full")

    arrays = {"observations": np.zeros((2, 3)), "actions": np.zeros((2, 1)), "terminals": np.ones(2, bool)}
    monkeypatch.setattr(module, "collect", lambda *_: (arrays, arrays))
    monkeypatch.setattr(np, "savez", half)
    with pytest.raises(OSError, match="disk full"):
        small(tmp_path / "x.npz", workers=1)
    assert list(tmp_path.iterdir()) == []


def test_dead_worker_is_an_error_and_not_a_hang(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "run_episode", os._exit)  # called with too many arguments: raises in the worker
    with pytest.raises(TypeError):
        small(tmp_path / "x.npz", workers=1)
    monkeypatch.setattr(module, "start_worker", os.abort)
    with pytest.raises(RuntimeError, match="died"):
        small(tmp_path / "x.npz", workers=2)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_killed_generation_leaves_no_file_and_no_worker(tmp_path):
    command = [sys.executable, "-m", "envs.generate", "--dataset=pointmaze-giant-navigate", "--workers=1"]
    with subprocess.Popen([*command, f"--out={tmp_path}"], stderr=subprocess.PIPE) as process:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        deadline = time.monotonic() + 30
        while len(workers := children.read_text().split()) < 2:  # the worker and the resource tracker
            assert time.monotonic() < deadline
            time.sleep(0.1)
        time.sleep(2)
        process.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 10
    while any(Path(f"/proc/{pid}").exists() and not _is_zombie(pid) for pid in workers):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert list(tmp_path.iterdir()) == []


def _is_zombie(pid: str) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except OSError:
        return True


def test_players_of_the_ball_are_refused_with_what_to_do_instead():
    with pytest.raises(UserError, match=r"trained expert policy.*Download the published file instead"):
        find_recipe("antsoccer-arena-navigate")


@pytest.mark.parametrize("name", [*(name for name in RECIPES if RECIPES[name].body), *WITH_BALL])
def test_the_advice_for_what_cannot_be_generated_can_be_followed(name, monkeypatch):
    monkeypatch.setattr(episodes, "EXPERTS", Path("/nowhere"))
    with pytest.raises(UserError, match=f"'{name}' cannot be generated") as error:
        open_expert(name)
    if command := re.search(r"python -m envs.download (--dataset .*)", str(error.value)):
        assert download.main([*command[1].split(), "--dry-run", "--data-dir=/nowhere"]) == 0
    else:
        assert f"{name}-v0" not in dataset_names()
        assert f"https://rail.eecs.berkeley.edu/datasets/ogbench/{name}-v0.npz" in str(error.value)


def test_unknown_dataset_gets_the_nearest_name():
    with pytest.raises(UserError, match="did you mean 'cube-double-play'"):
        find_recipe("cube-duble-play")


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--transitions=0"], "transitions must be"),
        (["--seed=-1"], "seed must be"),
        (["--workers=0"], "workers must be"),
        (["--episode-length=1"], "episode length must be"),
        (["--shards=2", "--transitions=10"], "--transitions-per-shard"),
        (["--transitions-per-shard=10"], "needs --shards"),
        (["--out=/proc/nowhere"], "cannot write to /proc/nowhere"),
    ],
)
def test_bad_arguments_are_refused_before_any_work(arguments, complaint, monkeypatch):
    monkeypatch.setattr(module, "collect", lambda *_: pytest.fail("work began"))
    with pytest.raises(UserError, match=complaint):
        main(["--dataset=cube-single-play", *arguments])


def test_recipes_are_the_published_ones():
    """Against the command lines with which OGBench's files were made."""
    assert len(RECIPES) == 43
    assert (RECIPES["cube-triple-play"].episodes, RECIPES["cube-triple-play"].stacking) == (3000, (0.05, 0.35))
    assert RECIPES["cube-single-noisy"].random_action == RECIPES["scene-noisy"].random_action == 0.1
    assert RECIPES["puzzle-4x4-noisy"].random_action == 0.2
    assert RECIPES["puzzle-4x4-play"].random_action == 0
    assert (RECIPES["pointmaze-giant-navigate"].episodes, RECIPES["pointmaze-giant-navigate"].episode_length) == (
        500,
        2001,
    )
    assert RECIPES["pointmaze-medium-stitch"].episode_length == 201


def test_pointmaze_walks_from_cell_to_cell(tmp_path):
    path = generate("pointmaze-medium-navigate", 200, 0, tmp_path / "p.npz", 1, False, 101)
    data = np.load(path)
    assert data["observations"].shape == data["qpos"].shape == (202, 2)
    steps = np.linalg.norm(np.diff(data["observations"][:101], axis=0), axis=1)
    assert 0.05 < np.median(steps) < 0.4
    record = json.loads(record_path(path).read_text())
    assert record["episodes_reaching_a_goal"] <= record["episodes"]["train"]
    # Directions of unit length with noise of 0.5, clipped, and rarely standing still.
    assert 0.5 < np.linalg.norm(data["actions"], axis=1).mean() < 1.3


def test_stitch_goals_lie_four_cells_away():
    script = Collector("pointmaze-medium-stitch", 11)._script
    maze = script.env.unwrapped
    start = (1, 1)
    _, steps = maze.get_oracle_subgoal(maze.ij_to_xy(start), maze.ij_to_xy(start))
    expected = sorted((int(i), int(j)) for i, j in np.argwhere(steps == 4))
    assert expected
    assert script._cells_at_distance(start, 4) == expected


def test_shards_are_files_that_training_can_rotate_through(tmp_path, cube, collector, monkeypatch):
    def collect_here(name, length, seed, shard, counts, workers, advance, expert):
        splits = []
        for split, count in enumerate(counts):
            episodes = [collector.episode(seed, shard, split, index) for index in range(count)]
            splits.append({key: np.concatenate([episode[key] for episode in episodes]) for key in episodes[0]})
        return splits

    monkeypatch.setattr(module, "collect", collect_here)
    words = [f"--transitions-per-shard={2 * (LENGTH - 1)}", f"--episode-length={LENGTH}", "--workers=1"]
    main(["--dataset=cube-single-play", "--shards=2", *words, f"--out={tmp_path}"])
    folder = tmp_path / "cube-single-play-100m-v0"
    names = sorted(path.name for path in folder.glob("*.npz") if "-val.npz" not in path.name)
    assert names == ["cube-single-play-v0-000.npz", "cube-single-play-v0-001.npz"]
    first, second = (dict(np.load(folder / name)) for name in names)
    assert equal(first, dict(np.load(cube)))
    assert not np.array_equal(first["actions"], second["actions"])


def collect_anything(name, length, seed, shard, counts, workers, advance, expert):
    """Stands for `collect`, which takes minutes: rows of the seed."""

    def arrays(rows):
        return dict(observations=np.full((rows, 4), seed), actions=np.zeros((rows, 2)), terminals=np.zeros(rows))

    return [arrays(count * length) for count in counts]


@pytest.fixture
def shards(tmp_path, monkeypatch):
    """Makes so many shards, by the command; they are in `shards.folder`."""
    monkeypatch.setattr(module, "collect", collect_anything)

    def make(count, *options):
        words = [f"--shards={count}", "--transitions-per-shard=8", "--episode-length=5", "--workers=1"]
        main(["--dataset=cube-quadruple-play", *words, f"--out={tmp_path}", *options])

    make.folder = tmp_path / "cube-quadruple-play-100m-v0"
    return make


def content_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("count", [3, 100])
def test_a_refused_generation_leaves_a_folder_of_published_shards_as_it_was(shards, count):
    shards.folder.mkdir()
    arrays = dict(observations=np.zeros((6, 4)), actions=np.zeros((6, 2)), terminals=np.zeros(6))
    for i in range(50, 100):  # the others are still to be fetched
        np.savez(path := shards.folder / f"cube-quadruple-play-v0-{i:03d}.npz", **arrays)
        adopt(path)
    before = content_of(shards.folder)
    with pytest.raises(UserError, match=r"exists and is not a whole file|holds 50 shards beside the 3"):
        shards(count)
    assert content_of(shards.folder) == before and module.shards_made(shards.folder) is None


@pytest.mark.parametrize(
    ("count", "options", "said"),
    [
        (3, ["--seed=1"], r"-000.npz exists with seed 0 \(asked: 1\)"),
        (4, ["--transitions-per-shard=12"], r"exists with transitions_asked 8 \(asked: 12\)"),
        (2, [], "holds 1 shards beside the 2 that are asked for, such as cube-quadruple-play-v0-002.npz"),
        (2, ["--seed=1", "--overwrite"], "holds 1 shards beside the 2"),
    ],
)
def test_another_request_leaves_a_folder_of_generated_shards_as_it_was(shards, count, options, said):
    shards(3)
    before = content_of(shards.folder)
    with pytest.raises(UserError, match=said):
        shards(count, *options)
    assert content_of(shards.folder) == before


def test_shards_go_on_grow_in_number_and_are_replaced_when_that_is_asked(shards):
    shards(2)
    (shards.folder / "cube-quadruple-play-v0-001.npz").unlink()
    first = (shards.folder / "cube-quadruple-play-v0-000.npz").stat().st_ino
    shards(3)
    assert module.shards_made(shards.folder) == 3 == len(module.shards_in(shards.folder))
    assert (shards.folder / "cube-quadruple-play-v0-000.npz").stat().st_ino == first
    shards(3, "--seed=1", "--overwrite")
    assert all(np.load(path)["observations"][0, 0] == 1 for path in module.shards_in(shards.folder))


def test_a_run_goes_on_with_the_data_that_it_is_of_and_another_is_told_what_it_can_do(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "collect", collect_anything)
    protocol, data = get_protocol("quickstart"), Generated(1000)
    task, out = "cube-single-play-singletask-task1-v0", str(tmp_path / "out")
    run = Run(RunSpec("bc", task, (0,), {}, protocol, out, data=data, data_dir=str(tmp_path)))
    path = run.ensure_data()
    monkeypatch.setattr(module, "_versions", lambda: {"mujoco": "another"})
    for state in ({}, {"data": "sha256:0"}):
        with run.directory:
            run.directory.set_status(state="interrupted", **state)
        with pytest.raises(UserError, match=r"exists with versions .*; move it away, .* or name another --data-dir$"):
            run.ensure_data()
    with run.directory:
        run.directory.set_status(data=origin.fingerprint([path]))
    assert run.ensure_data() == path
    with pytest.raises(UserError, match=r"choose another --out, or pass --overwrite$"):
        generate("cube-single-play", 1000, 0, path)


@pytest.mark.parametrize("places", [(0, 1), (1, 0)])
def test_of_runs_on_a_file_of_other_versions_those_that_began_with_it_go_on(tmp_path, monkeypatch, places, capsys):
    monkeypatch.setattr(module, "collect", collect_anything)
    protocol, data = get_protocol("quickstart"), Generated(1000)
    task, out = "cube-single-play-singletask-task1-v0", str(tmp_path / "out")
    began, anew, damaged = (
        Run(RunSpec("bc", task, (seed,), {}, protocol, out, data=data, data_dir=str(tmp_path))) for seed in range(3)
    )
    path = began.ensure_data()
    with began.directory:
        began.directory.set_status(state="interrupted", data=origin.fingerprint([path]))
    damaged.path.mkdir()
    (damaged.path / "status.json").write_text("{")
    assert prepare([damaged, anew, began]) == {}
    monkeypatch.setattr(module, "_versions", lambda: {"mujoco": "another"})
    reasons = prepare([*((began, anew)[place] for place in places), damaged])
    assert set(reasons) == {anew.path, damaged.path}
    assert all("exists with versions" in reason for reason in reasons.values())
    assert capsys.readouterr().out.count("the other runs go on") == 1


def test_a_run_takes_the_file_that_was_generated_by_hand_for_what_it_asks(tmp_path, monkeypatch):
    """Forty minutes of a core are not spent twice."""
    monkeypatch.setattr(module, "collect", collect_anything)
    by_hand = generate("cube-single-play", 1000, 0, tmp_path / "cube-single-play-v0.npz")
    task, out = "cube-single-play-singletask-task1-v0", str(tmp_path / "out")

    def run(transitions=1000, seed=0):
        data, protocol = Generated(transitions, seed), get_protocol("quickstart")
        return Run(RunSpec("bc", task, (0,), {}, protocol, out, data=data, data_dir=str(tmp_path)))

    assert run().data_path == run().ensure_data() == by_hand and run().missing_data() == []
    own = tmp_path / "generated"
    for other in (run(2000), run(seed=1)):
        assert own in other.data_path.parents
    with monkeypatch.context() as patch:
        patch.setattr(module, "_versions", lambda: {"mujoco": "another"})
        assert own in run().data_path.parents
    by_hand.write_bytes(b"cut off")
    assert run().data_path == run().ensure_data() == own / "1000-seed0" / by_hand.name


@pytest.mark.slow
def test_scene_forgets_the_episode_before():
    """Scene's targets outlive a reset: here episode 10 leaves some that episode 11 would act on."""
    collector = Collector("scene-noisy", 60)
    alone = collector.episode(0, 0, TRAIN, 11)
    collector.episode(0, 0, TRAIN, 10)
    assert equal(collector.episode(0, 0, TRAIN, 11), alone)
    assert alone["button_states"].shape == (60, 2)
    assert alone["button_states"].dtype == np.int64


def test_lost_cube_is_unhealthy_in_scene_only():
    def healthy(dataset: str, y: float, z: float) -> bool:
        qpos = np.zeros((3, 25), np.float32)
        qpos[1, 15:17] = y, z
        script = episodes._Manipulation.__new__(episodes._Manipulation)
        script.recipe = RECIPES[dataset]
        return script.healthy({"qpos": qpos})

    assert healthy("scene-play", 0.0, 0.02)
    assert healthy("scene-play", -0.35, 0.07)  # in the drawer
    assert not healthy("scene-play", -0.35, 0.02)
    assert not healthy("scene-play", 0.3, 0.02)
    assert healthy("cube-single-play", 0.3, 0.02)


def test_unhealthy_episode_is_made_again_from_its_own_seed(collector, monkeypatch):
    first = collector.episode(0, 0, TRAIN, 3)
    verdicts = iter([False, True])
    monkeypatch.setattr(collector._script, "healthy", lambda _: next(verdicts))
    second = collector.episode(0, 0, TRAIN, 3)
    assert not np.array_equal(first["actions"], second["actions"])


@pytest.mark.slow
@pytest.mark.parametrize("dataset", ["puzzle-3x3-noisy", "cube-double-noisy"])
def test_other_manipulation_datasets(dataset):
    episode = Collector(dataset, 50).episode(0, 0, TRAIN, 0)
    assert episode["observations"].shape == (50, {"puzzle-3x3-noisy": 55, "cube-double-noisy": 37}[dataset])
    assert ("button_states" in episode) == dataset.startswith("puzzle")
    if "button_states" in episode:
        assert (episode["button_states"].shape, episode["button_states"].dtype) == ((50, 9), np.int64)


def test_file_is_stored_uncompressed_for_quick_reading(cube):
    with zipfile.ZipFile(cube) as archive:
        assert {member.compress_type for member in archive.infolist()} == {zipfile.ZIP_STORED}
