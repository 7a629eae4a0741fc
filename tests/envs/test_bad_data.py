"""Data are checked before anything is learned from them: every fault gives one line that names file, array and row."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from benchmark.common.errors import UserError
from benchmark.loop.worker import execute
from benchmark.train import parse
from envs import world
from envs.d4rl import data as d4rl
from envs.data.dataset import check_chunks, from_transitions, load, load_d4rl
from envs.data.environment import make_env
from envs.data.samplers import SAMPLERS
from envs.data.shards import Rotation, check_shards
from envs.family import family_of
from envs.tasks import get_task
from tests.helpers.worlds import transitions

CUBE = get_task("cube-single-play-singletask-task1-v0")
SCENE = get_task("scene-play-singletask-task1-v0")
ROWS = 20


def valid(qpos: int = 21, observations: int = 28, buttons: int = 0) -> dict[str, np.ndarray]:
    """Two trajectories of nine transitions in OGBench's format."""
    rng = np.random.default_rng(0)
    arrays = {
        "observations": rng.standard_normal((ROWS, observations)).astype(np.float32),
        "actions": rng.uniform(-1, 1, (ROWS, 5)).astype(np.float32),
        "terminals": np.arange(ROWS) % 10 == 9,
        "qpos": rng.standard_normal((ROWS, qpos)).astype(np.float32),
    }
    return arrays | ({"button_states": np.zeros((ROWS, buttons), np.int64)} if buttons else {})


def with_value(name: str, row: int, value: float, dtype: Any = np.float32) -> dict[str, np.ndarray]:
    """The valid arrays, one of which has a value in a row."""
    array = valid()[name].astype(dtype)
    array[row] = value
    return {name: array}


def npy(text: str, content: bytes = b"", version: tuple[int, int] = (1, 0)) -> bytes:
    """A .npy file with this text as its head."""
    head = text.encode() + b"\n"
    return b"\x93NUMPY" + bytes(version) + len(head).to_bytes(2 if version == (1, 0) else 4, "little") + head + content


def head(shape: str, dtype: str = "<f4") -> str:
    return f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}}}"


def write_npz(path: Path, changes: dict[str, Any], arrays: dict[str, np.ndarray] | None = None) -> Path:
    """A file of the valid arrays with some changed, left out (None), or given as the bytes of their .npy file."""
    content = (valid() if arrays is None else arrays) | changes
    np.savez_compressed(path, **{k: v for k, v in content.items() if v is not None and not isinstance(v, bytes)})
    with zipfile.ZipFile(path, "a") as archive:
        for name, value in content.items():
            if isinstance(value, bytes):
                archive.writestr(f"{name}.npy", value)
    return path


NAN, INF = float("nan"), float("inf")
NPZ: dict[str, tuple[dict[str, Any], str]] = {
    "NaN in observations": (with_value("observations", 7, NAN), "observations holds nan in row 7"),
    "NaN in the last state": (with_value("observations", 19, NAN), "observations holds nan in row 19"),
    "infinite observations": (with_value("observations", 0, INF), "observations holds inf in row 0"),
    "observations infinite in float32": (
        with_value("observations", 3, 1e300, np.float64),
        r"observations holds 1e\+300 in row 3: it must be within",
    ),
    "observations whose square is infinite": (
        with_value("observations", 3, -1e30),
        r"observations holds -1e\+30 in row 3",
    ),
    "NaN in big-endian observations": (with_value("observations", 7, NAN, ">f4"), "observations holds nan in row 7"),
    "NaN in columns first": (
        {"observations": np.asfortranarray(with_value("observations", 7, NAN)["observations"])},
        "observations holds nan in row 7",
    ),
    "NaN in half precision": (with_value("observations", 7, NAN, np.float16), "observations holds nan in row 7"),
    "infinite in half precision": (with_value("qpos", 7, INF, np.float16), "qpos holds inf in row 7"),
    "NaN in actions": (with_value("actions", 5, NAN), "actions holds nan in row 5"),
    "infinite actions": (with_value("actions", 5, -INF), "actions holds -inf in row 5"),
    "NaN in positions": (with_value("qpos", 11, NAN), "qpos holds nan in row 11"),
    "infinite positions": (with_value("qpos", 11, INF), "qpos holds inf in row 11"),
    "NaN in terminals": (with_value("terminals", 4, NAN), "terminals holds nan in row 4: it must be finite"),
    "a terminal of a half": (with_value("terminals", 4, 0.5), "terminals holds 0.5 in row 4"),
    "a negative terminal": (with_value("terminals", 4, -1), "terminals holds -1 in row 4"),
    "text as observations": ({"observations": np.full((ROWS, 28), "x")}, "observations holds text"),
    "bytes as actions": ({"actions": np.full((ROWS, 5), b"x")}, "actions holds text"),
    "complex actions": ({"actions": np.zeros((ROWS, 5), complex)}, "actions holds complex numbers"),
    "objects as positions": ({"qpos": np.full((ROWS, 21), None)}, "qpos holds Python objects"),
    "records as terminals": ({"terminals": np.zeros(ROWS, [("a", "f4")])}, "terminals holds records"),
    "dates as terminals": ({"terminals": np.zeros(ROWS, "M8[s]")}, "terminals holds no numbers"),
    "a single observation": ({"observations": np.float32(1)}, "observations is a single value"),
    "a single terminal": ({"terminals": np.array(True)}, "terminals is a single value"),
    "a single position": ({"qpos": np.float32(1)}, "qpos is a single value"),
    "no observations": ({"observations": None}, "not an OGBench dataset: no observations in it"),
    "no actions": ({"actions": None}, "no actions in it"),
    "no terminals": ({"terminals": None}, "no terminals in it"),
    "no positions": ({"qpos": None}, "no qpos in it"),
    "flat observations": ({"observations": np.zeros(ROWS, np.float32)}, r"observations has shape \(20,\)"),
    "deep observations": ({"observations": np.zeros((ROWS, 1, 28))}, r"observations has shape \(20, 1, 28\)"),
    "flat actions": ({"actions": np.zeros(ROWS)}, r"actions has shape \(20,\), not \(rows, 5\)"),
    "actions without columns": ({"actions": np.zeros((ROWS, 0))}, r"actions has shape \(20, 0\)"),
    "actions of another arm": ({"actions": np.zeros((ROWS, 7))}, "actions .* belongs to another environment"),
    "positions of two cubes": ({"qpos": np.zeros((ROWS, 28))}, r"qpos has shape \(20, 28\), not \(rows, 21\)"),
    "flat positions": ({"qpos": np.zeros(ROWS)}, r"qpos has shape \(20,\)"),
    "terminals in a column": ({"terminals": np.ones((ROWS, 1), bool)}, r"terminals has shape \(20, 1\)"),
    "an action too few": ({"actions": np.zeros((ROWS - 1, 5))}, "different lengths: .*'actions': 19"),
    "a position too many": ({"qpos": np.zeros((ROWS + 1, 21))}, "different lengths: .*'qpos': 21"),
    "no row": ({name: array[:0] for name, array in valid().items()}, "it is empty"),
    "no terminal at all": ({"terminals": np.zeros(ROWS)}, "does not end a trajectory .* row 19 and no other row does"),
    "no terminal at its end": ({"terminals": np.arange(ROWS) == 9}, "does not end a trajectory .*terminals is 0 in"),
    "only terminals": ({"terminals": np.ones(ROWS)}, "no transition .*terminals is 1 in every row"),
    "a claim of 100 GB": ({"observations": npy(head("(10**9, 25)".replace("10**9", "1000000000")))}, "claims 100,000,"),
    "a claim beyond 64 bits": ({"qpos": npy(head(f"({2**40}, {2**40})"))}, "qpos ends early: its head claims"),
    "a negative claim": ({"actions": npy(head("(-20, 5)"))}, r"actions has shape \(-20, 5\)"),
    "a claim of True rows": ({"actions": npy(head("(True, 5)"))}, r"actions has shape \(True, 5\)"),
    "a head that is no literal": ({"actions": npy("(" * 3000)}, "actions is not an array"),
    "a head of another kind": ({"actions": npy("[1, 2]")}, "actions is not an array"),
    "a version to come": ({"actions": npy(head("(20, 5)"), b"", (9, 0))}, "actions is not an array"),
    "an array that is no array": ({"actions": b"hello"}, "actions is not an array"),
    "an empty array file": ({"actions": b""}, "actions is not an array"),
    "an array cut short": ({"actions": npy(head("(20, 5)"), bytes(396))}, "actions ends early"),
    "an array too long": ({"actions": npy(head("(20, 5)"), bytes(404))}, "actions is longer than its header says"),
}


@pytest.fixture(scope="module")
def cube_env():
    return make_env(CUBE)


@pytest.fixture(scope="module")
def scene_env():
    return make_env(SCENE)


def refused(path: Path, reason: str, task: Callable[[], Any]) -> None:
    """What `task` raises is one line that names the file and the reason."""
    with pytest.raises(UserError, match=reason) as caught:
        task()
    assert path.name in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("case", NPZ)
def test_a_bad_file_is_refused_in_one_line(case, tmp_path, cube_env):
    changes, reason = NPZ[case]
    path = write_npz(tmp_path / "rows.npz", changes)
    refused(path, reason, lambda: load(CUBE, path, cube_env))


SHARDS = {name: NPZ[name] for name in ("NaN in observations", "infinite positions", "no terminal at all", "no row")} | {
    "actions out of bounds": (with_value("actions", 5, 1.5), "actions holds 1.5 in row 5: it must be within ±1"),
}


@pytest.mark.parametrize("case", SHARDS)
def test_a_bad_file_of_a_folder_is_named_when_its_turn_comes(case, tmp_path, cube_env):
    changes, reason = SHARDS[case]
    files = [write_npz(tmp_path / f"{i}.npz", changes if i == 1 else {}) for i in range(3)]
    rotation = Rotation(files, lambda file: load(CUBE, file, cube_env, clip_actions=False), updates_per_shard=3)
    rotation.data_for(1)
    refused(files[1], reason, lambda: rotation.data_for(2))
    rotation.close()


HEADS = ["no actions", "text as observations", "a claim of 100 GB", "no positions", "a head that is no literal"]


@pytest.mark.parametrize("case", HEADS)
def test_a_bad_file_of_a_folder_is_named_at_once_where_its_heads_tell(case, tmp_path):
    files = [write_npz(tmp_path / f"{i}.npz", NPZ[case][0] if i == 1 else {}) for i in range(3)]
    refused(files[1], r"1 of 3 files are of no use: 1\.npz", lambda: check_shards(files))


SCENES = {
    "no buttons": ({"button_states": None}, "no button_states in it"),
    "one button": ({"button_states": np.zeros((ROWS, 1), int)}, r"button_states has shape \(20, 1\), not \(rows, 2\)"),
    "NaN in buttons": (
        {"button_states": np.where(np.arange(ROWS)[:, None] == 6, NAN, np.zeros((ROWS, 2)))},
        "button_states holds nan in row 6",
    ),
    "text as buttons": ({"button_states": np.full((ROWS, 2), "on")}, "button_states holds text"),
}


@pytest.mark.parametrize("case", SCENES)
def test_bad_states_of_buttons_are_refused(case, tmp_path, scene_env):
    changes, reason = SCENES[case]
    path = write_npz(tmp_path / "rows.npz", changes, valid(25, 40, 2))
    refused(path, reason, lambda: load(SCENE, path, scene_env))


def test_what_is_said_of_a_folder_in_place_of_a_file(tmp_path):
    (tmp_path / "rows.npz").mkdir()
    refused(tmp_path / "rows.npz", "no dataset at", lambda: load(CUBE, tmp_path / "rows.npz", None))


@pytest.mark.parametrize("content", [b"", b"text", b"PK\x03\x04", b"\x93NUMPY\x01\x00", b"\x80\x04N."])
def test_what_is_no_archive_is_refused(content, tmp_path):
    path = tmp_path / "rows.npz"
    path.write_bytes(content)
    refused(path, "damaged or incomplete", lambda: load(CUBE, path, None))


def test_an_encrypted_or_unknown_packing_is_refused(tmp_path):
    path = write_npz(tmp_path / "rows.npz", {})
    whole = path.read_bytes()
    for place, value, reason in ((8, 1, "encrypted"), (10, 99, "compression")):
        content = bytearray(whole)
        entry = content.index(b"PK\x01\x02")  # of the first array, in the archive's directory
        content[entry + place], content[6 if place == 8 else 8] = value, value
        path.write_bytes(content)
        refused(path, reason, lambda: load(CUBE, path, None))


# ------------------------------------------------------------------------------------------- what is not wrong


@pytest.mark.parametrize("form", ["columns first", "big-endian", "float64", "version 2.0", "version 3.0", "integers"])
def test_other_forms_of_the_same_numbers_are_the_same_dataset(form, tmp_path, cube_env):
    arrays = valid()
    arrays["observations"] = arrays["observations"].round()
    expected = load(CUBE, write_npz(tmp_path / "plain.npz", arrays), cube_env)
    changed: dict[str, Any] = dict(arrays)
    for name in ("observations", "actions", "qpos"):
        changed[name] = {"columns first": np.asfortranarray, "big-endian": lambda a: a.astype(">f4")}.get(
            form, lambda a: a.astype(np.float64) if form == "float64" else a
        )(arrays[name])
    if form == "integers":
        changed["observations"] = arrays["observations"].astype(np.int16)
        changed["terminals"] = arrays["terminals"].astype(np.uint8)
    if form.startswith("version"):
        version = int(form[8]), 0
        text = head("(20, 28)").ljust(118)
        changed["observations"] = npy(text, arrays["observations"].tobytes(), version)
    found = load(CUBE, write_npz(tmp_path / "other.npz", changed), cube_env)
    jax.tree.map(np.testing.assert_array_equal, found, expected)


def test_actions_out_of_bounds_are_clipped_where_the_authors_clip(tmp_path, cube_env):
    path = write_npz(tmp_path / "rows.npz", with_value("actions", 5, 1.5))
    assert float(load(CUBE, path, cube_env).actions.max()) == np.float32(1 - 1e-5)


def test_arrays_that_are_not_used_may_hold_anything(tmp_path, cube_env):
    load(CUBE, write_npz(tmp_path / "rows.npz", {"qvel": np.full((3, 2), NAN), "note": np.array("mine")}), cube_env)


# ------------------------------------------------------------------------------------------------------ chunks


def test_a_chunk_longer_than_every_trajectory_is_refused_by_name(tmp_path, cube_env):
    path = write_npz(tmp_path / "rows.npz", {})
    for sampler in SAMPLERS:
        load(CUBE, path, cube_env, sampler=sampler, chunk_length=9)
        reason = "chunk_length 10 is longer than every trajectory of .*: the longest has 9 transitions"
        refused(path, reason, lambda s=sampler: load(CUBE, path, cube_env, sampler=s, chunk_length=10))


def test_the_longest_chunk_that_is_taken_gives_valid_batches_and_the_next_would_not():
    data = from_transitions(**transitions((3, 7, 5)))
    for name, sampler in SAMPLERS.items():
        check_chunks(data, name, 7, "here")
        drawn = jax.jit(sampler, static_argnums=(2, 3))
        assert drawn(data, jax.random.PRNGKey(0), 400, 7, 0.9).valid.any()
        assert not drawn(data, jax.random.PRNGKey(0), 400, 8, 0.9).valid.any()
        with pytest.raises(UserError, match="of here: the longest has 7"):
            check_chunks(data, name, 8, "here")


def test_samplers_never_draw_from_bounds_that_hold_nothing():
    data = from_transitions(**transitions((3, 2)))
    with pytest.raises(UserError, match="chunk_length 6 is longer than the whole dataset of 5"):
        jax.jit(SAMPLERS["sequences"], static_argnums=(2, 3))(data, jax.random.PRNGKey(0), 4, 6, 0.9)
    single = from_transitions(**transitions((1, 1, 1)))
    with pytest.raises(UserError, match="two are needed"):
        jax.jit(SAMPLERS["trajectories"], static_argnums=(2, 3))(single, jax.random.PRNGKey(0), 2, 1, 0.9)
    with pytest.raises(UserError, match="no trajectory of here has more than one transition"):
        check_chunks(single, "trajectories", 1, "here")
    check_chunks(single, "sequences", 1, "here")


# -------------------------------------------------------------------------------------------------------- D4RL

UMAZE = get_task("antmaze-umaze-v2")


def valid_maze() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    return {
        "observations": rng.standard_normal((ROWS, 29)).astype(np.float32),
        "actions": rng.uniform(-1, 1, (ROWS, 8)).astype(np.float32),
        "rewards": np.zeros(ROWS, np.float32),
        "terminals": np.zeros(ROWS, bool),
        "timeouts": np.arange(ROWS) % 10 == 9,
    }


def changed_maze(name: str, row: int, value: float) -> dict[str, Any]:
    array = valid_maze()[name].astype(np.float32)
    array[row] = value
    return {name: array}


HDF5: dict[str, tuple[dict[str, Any], str]] = {
    "NaN in observations": (changed_maze("observations", 7, NAN), "observations holds nan in row 7"),
    "infinite actions": (changed_maze("actions", 5, INF), "actions holds inf in row 5"),
    "NaN in rewards": (changed_maze("rewards", 5, NAN), "rewards holds nan in row 5"),
    "NaN in terminals": (changed_maze("terminals", 5, NAN), "terminals holds nan in row 5"),
    "a timeout of two": (changed_maze("timeouts", 5, 2), "timeouts holds 2 in row 5"),
    "text": ({"observations": np.full((ROWS, 29), b"x")}, "observations holds text"),
    "complex": ({"actions": np.zeros((ROWS, 8), complex)}, "actions holds complex numbers"),
    "a single value": ({"rewards": np.float32(0)}, "rewards is a single value"),
    "nothing": ({"rewards": "nothing"}, "rewards is a single value"),
    "a folder": ({"actions": "folder"}, "actions is not an array"),
    "no terminals": ({"terminals": None}, "no terminals in it"),
    "flat observations": ({"observations": np.zeros(ROWS)}, r"observations has shape \(20,\)"),
    "wide rewards": ({"rewards": np.zeros((ROWS, 3))}, r"rewards has shape \(20, 3\)"),
    "a reward too few": ({"rewards": np.zeros(ROWS - 1)}, "different lengths: .*'rewards': 19"),
    "another body": ({"observations": np.zeros((ROWS, 11))}, "observations .*belongs to another environment"),
    "no row": ({name: array[:0] for name, array in valid_maze().items()}, "it is empty"),
    "no transition": ({"timeouts": np.ones(ROWS, bool)}, "has no transition"),
    "a claim of 100 GB": ({"observations": "claim"}, "observations ends early: its head claims 104,400,000,000"),
}


@pytest.mark.parametrize("case", HDF5)
def test_a_bad_hdf5_file_is_refused_in_one_line(case, tmp_path):
    h5py = pytest.importorskip("h5py")
    changes, reason = HDF5[case]
    path = tmp_path / "rows.hdf5"
    with h5py.File(path, "w") as file:
        for name, value in (valid_maze() | changes).items():
            if isinstance(value, str):
                make = {
                    "nothing": lambda n: file.create_dataset(n, data=h5py.Empty("f4")),
                    "folder": file.create_group,
                    "claim": lambda n: file.create_dataset(n, (900_000_000, 29), "f4"),
                }[value]
                make(name)
            elif value is not None:
                file[name] = value
    refused(path, reason, lambda: load_d4rl(UMAZE, path, family_of(UMAZE).make_env(UMAZE)))


def test_a_d4rl_file_is_checked_for_its_chunks_too(tmp_path):
    h5py = pytest.importorskip("h5py")
    path = tmp_path / "rows.hdf5"
    with h5py.File(path, "w") as file:
        for name, value in valid_maze().items():
            file.create_dataset(name, data=value, compression="gzip")
    assert len(d4rl.read_rows(UMAZE, path)["rewards"]) == 18
    refused(path, "longest has 9", lambda: load_d4rl(UMAZE, path, family_of(UMAZE).make_env(UMAZE), chunk_length=10))


# ------------------------------------------------------------------------------------------------ whole programs


def command(folder: Path, *more: str) -> list[str]:
    task = f"--task={CUBE.name}"
    return ["--agent=bc", task, "--seeds=0,1", "--steps=4", f"--out={folder / 'runs'}", f"--data-dir={folder}", *more]


def test_a_run_on_bad_data_is_failed_with_that_line_and_no_seed_diverged(tmp_path, monkeypatch):
    class Pool:
        """No processes: data are bad before anything is evaluated."""

        def __init__(self, *_, **__):
            pass

        def close(self):
            pass

    monkeypatch.setattr(world, "EvaluationPool", Pool)
    write_npz(tmp_path / "cube-single-play-v0.npz", with_value("qpos", 3, NAN))
    for more, reason in (([], "qpos holds nan in row 3"), (["--set", "chunk_length=10"], "chunk_length 10 is longer")):
        spec = parse(command(tmp_path, *more, *([f"--out={tmp_path / 'other'}"] if more else [])))
        with pytest.raises(UserError, match=reason) as caught:
            execute(spec, quiet=True)
        status = json.loads((spec.path / "status.json").read_text())
        assert status["state"] == "failed" and status["error"] == str(caught.value)
        assert not status.get("diverged") and not (spec.path / "train.csv").exists()
        write_npz(tmp_path / "cube-single-play-v0.npz", {})


def test_a_toys_chunk_longer_than_its_walks_is_refused(tmp_path):
    arguments = ["--agent=bc", "--task=toy-detour", "--steps=4", f"--out={tmp_path}", "--set", "chunk_length=41"]
    with pytest.raises(UserError, match=r"chunk_length 41 is longer than every trajectory of toy-detour.*has 40"):
        execute(parse(arguments), quiet=True)


@pytest.mark.slow
def test_training_on_a_bad_file_exits_with_two_and_one_line(tmp_path):
    write_npz(tmp_path / "cube-single-play-v0.npz", with_value("observations", 3, NAN))
    run = [sys.executable, "-m", "benchmark.train", *command(tmp_path)]
    done = subprocess.run(run, capture_output=True, text=True, timeout=300)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
    assert "cube-single-play-v0.npz cannot be used: observations holds nan in row 3" in done.stderr
    (status,) = (tmp_path / "runs").rglob("status.json")
    assert not json.loads(status.read_text()).get("diverged")
