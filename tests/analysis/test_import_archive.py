"""The archive importer: nothing of a hostile pickle runs, nothing unknown is guessed, the real one is read right."""

from __future__ import annotations

import os
import pickle
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from agents.roster import PAPER_AGENTS
from analysis import Results, comparable, load_runs
from analysis.averaging.statistics import final_scores, task_means
from analysis.published import by_task
from analysis.reading.archive import LABELS, read_archive, read_curves, write_csv
from analysis.reading.loading import EVALUATION_COLUMNS
from analysis.reading.pickled import read_arrays
from analysis.tabulating.reproduction import reproduction_table
from analysis.tabulating.with_published import domain_table
from benchmark.common.errors import UserError
from tests.helpers.simulated_runs import write_run

ROOT = Path(__file__).resolve().parents[2]
REAL = ROOT.parent / "shared" / "data" / "qam-exp-data.pkl"
TASK = "cube-double-play-singletask-task{}-v0"
KEY = (TASK.format(1), "FQL")


def small_archive(seeds: int = 3) -> dict[tuple[str, str], np.ndarray]:
    """Five tasks of one domain, two methods, RLPD, and the domain's entry with its seeds in another order."""
    rng = np.random.default_rng(0)
    content = {}
    for label, rows in (("FQL", 30), ("QAM-E", 30), ("RLPD", 10)):
        tasks = [rng.integers(0, 51, size=(rows, seeds)) / 50 for _ in range(5)]
        content |= {(TASK.format(i + 1), label): values for i, values in enumerate(tasks)}
        content["cube-double-play", label] = np.mean(tasks, axis=0)[:, ::-1]
    return content


def written(folder: Path, content: Any, protocol: int = 4) -> Path:
    """Write the content as a pickle; bytes are written as they are."""
    path = folder / "archive.pkl"
    path.write_bytes(content if isinstance(content, bytes) else pickle.dumps(content, protocol=protocol))
    return path


class Call:
    """Pickles as a call of `function` with `arguments`."""

    def __init__(self, function: Any, *arguments: Any, state: Any = None) -> None:
        self.content = (function, arguments) if state is None else (function, arguments, state)

    def __reduce__(self) -> tuple[Any, ...]:
        return self.content


def text(value: str) -> bytes:
    return b"\x8c" + bytes([len(value)]) + value.encode()


def hostile(marker: Path) -> dict[str, Any]:
    """Pickles that do harm when they are loaded; the first group makes `marker`."""
    touch = f"touch {marker}"
    python = f"open({str(marker)!r}, 'w')"
    array = np.zeros((30, 12))
    # A tuple of the same tuple twice, 200 deep: small to write, 2**200 steps to hash.
    laughs = b"N\x85\x94" + b"".join(b"h" + bytes([i]) + b"\x86\x94" for i in range(200))
    proto = b"\x80\x04"
    return {
        "os.system": Call(os.system, touch),
        "eval": Call(eval, python),
        "exec, nested in a value": {KEY: array, (TASK.format(2), "FQL"): [Call(exec, python)]},
        "os.system in a key": {(Call(os.system, touch), "FQL"): array},
        "os.system as an array's content": {KEY: Call(np.ndarray, (1,), state=(1, (1,), Call(os.system, touch)))},
        "subprocess": Call(subprocess.call, ["touch", str(marker)]),
        "protocol 0": pickle.dumps(Call(os.system, touch), protocol=0),
        "protocol 2": pickle.dumps({KEY: Call(os.system, touch)}, protocol=2),
        "old-style instance": b"(S'" + touch.encode() + b"'\nios\nsystem\n.",
        "os.system after the arrays": pickle.dumps({KEY: array}, protocol=4)[:-1]
        + b"cos\nsystem\n"
        + text(touch)
        + b"\x85R.",
        "a dotted name under numpy": proto + text("numpy") + text("os.system") + b"\x93" + text(touch) + b"\x85R.",
        "attribute of an admitted name": proto + text("numpy") + text("ndarray.tofile") + b"\x93.",
        "numpy.load": Call(np.load, str(marker)),
        "numpy.fromfile": Call(np.fromfile, "/etc/passwd"),
        "numpy scalar": {KEY: np.float64(1.0)},
        "array of objects": {KEY: np.array([{}, []], dtype=object)},
        "structured array": {KEY: np.zeros(2, dtype=[("a", "f8")])},
        "array too large for memory": {KEY: Call(np.ndarray, (10**12,))},
        "dtype with a long text": {KEY: Call(np.dtype, "f8," * 1000)},
        "shape without content": pickle.dumps({KEY: array}, protocol=4).replace(
            b"K\x01K\x1eK\x0c", b"K\x01J\xff\xff\xff\x7fK\x0c"
        ),
        "negative shape": pickle.dumps({KEY: array}, protocol=4).replace(
            b"K\x01K\x1eK\x0c", b"K\x01J\xff\xff\xff\xffK\x0c"
        ),
        "huge text": proto + b"\x8d" + struct.pack("<Q", 2**50) + b"x.",
        "huge byte array": b"\x80\x05\x96" + struct.pack("<Q", 2**50) + b"x.",
        "huge memo, and no dict": proto + b"N" + b"r\xff\xff\xff\x7f" + b".",
        "missing memo": proto + b"h\x05.",
        "extension": proto + b"\x82\x01.",
        "persistent identity": b"Ps3://bucket\n.",
        "tuples of tuples as a key": proto + b"}" + laughs + b"Ns.",
        "tuples of tuples as half a key": proto + b"}" + laughs + text("FQL") + b"\x86Ns.",
        "tuples of tuples as a call": proto + text("numpy") + text("dtype") + b"\x93" + laughs + b"R.",
        "only marks": proto + b"(" * 1000 + b"t" * 1000 + b".",
        "stack below its bottom": proto + b"\x87.",
        "a list": [1, 2],
        "a set": {1, 2},
        "a dict of numbers": {KEY: 3},
        "a key that is one text": {"FQL": array},
        "empty": b"",
        "no pickle": b"agent,task\n",
    }


CASES = list(hostile(Path("marker")))


@pytest.mark.parametrize("case", CASES)
def test_a_hostile_pickle_is_refused_and_nothing_of_it_runs(case: str, tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    path = written(tmp_path, hostile(marker)[case])
    with pytest.raises(UserError) as refused:
        read_arrays(path)
    assert not marker.exists()
    assert "\n" not in str(refused.value) and len(str(refused.value)) < 400


def test_the_hostile_pickles_are_hostile(tmp_path: Path) -> None:
    """Loaded as a pickle, the first of them would have made its marker."""
    marker = tmp_path / "marker"
    pickle.loads(pickle.dumps(hostile(marker)["os.system"]))
    assert marker.exists()


def test_what_a_refused_pickle_asked_for_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"asks for '(posix|nt)\.system'; only numpy arrays are admitted"):
        read_arrays(written(tmp_path, Call(os.system, "true")))
    with pytest.raises(UserError, match="opcode EMPTY_LIST at byte"):
        read_arrays(written(tmp_path, [1]))


def test_every_truncation_of_an_archive_is_refused(tmp_path: Path) -> None:
    whole = pickle.dumps({KEY: np.zeros((30, 2))}, protocol=4)
    for length in range(len(whole)):
        with pytest.raises(UserError):
            read_arrays(written(tmp_path, whole[:length]))


def test_changed_bytes_are_read_or_refused_but_never_crash(tmp_path: Path) -> None:
    whole = pickle.dumps({KEY: np.zeros((30, 2))}, protocol=4)
    rng = np.random.default_rng(0)
    for _ in range(500):
        changed = bytearray(whole)
        for place in rng.integers(0, len(whole) - 480, size=2):  # Mostly in the structure, not in the zeros.
            changed[place] = rng.integers(256)
        try:
            arrays = read_arrays(written(tmp_path, bytes(changed)))
        except UserError:
            continue
        assert all(isinstance(value, np.ndarray) and value.dtype.kind == "f" for value in arrays.values())


@pytest.mark.parametrize("protocol", [3, 4])
def test_arrays_are_read_as_they_were_written(protocol: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    content = {
        ("a", "plain"): rng.random((4, 3)),
        ("a", "columns first"): np.asfortranarray(rng.random((4, 3))),
        ("a", "single"): rng.random(5).astype(np.float32),
        ("a", "big-endian"): rng.random((2, 2)).astype(">f8"),
    }
    read = read_arrays(written(tmp_path, content, protocol))
    assert list(read) == list(content)
    for key, value in content.items():
        np.testing.assert_array_equal(read[key], value)
        assert read[key].dtype == value.dtype


def test_curves_have_the_form_of_our_own_runs(tmp_path: Path) -> None:
    content = small_archive()
    archive = read_archive(written(tmp_path, content))
    curves = archive.curves
    assert set(curves.columns) == set(EVALUATION_COLUMNS)
    assert sorted(curves["agent"].unique()) == ["fql", "qam_e"]
    assert len(curves) == 2 * 5 * 3 * 20 and curves["step"].max() == 1_000_000
    row = curves.query("agent == 'qam_e' and task == @TASK.format(4) and seed == 2 and step == 150_000")
    assert row["success"].tolist() == [content[TASK.format(4), "QAM-E"][2, 2]]
    assert any("RLPD left out" in note for note in archive.notes)


def test_the_online_phase_is_taken_when_asked_for(tmp_path: Path) -> None:
    curves = read_archive(written(tmp_path, small_archive()), online=True).curves
    assert curves["step"].max() == 1_500_000 and curves["step"].nunique() == 30


def test_every_baseline_of_the_archive_has_its_label() -> None:
    assert len(LABELS) == 16
    assert set(PAPER_AGENTS) - set(LABELS.values()) == {"rql", "tfql", "bdpo", "diffusion_ql"}


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ((TASK.format(1), "FQLL"), np.zeros((30, 3)), r"unknown method 'FQLL' \(did you mean 'FQL'\?\)"),
        (("cube-dubble-play", "FQL"), np.zeros((30, 3)), "did you mean 'cube-double-play'"),
        (KEY, np.zeros((29, 3)), r"shape \(29, 3\) instead of \(30, seeds\)"),
        (KEY, np.zeros(30), r"shape \(30,\)"),
        (KEY, np.full((30, 3), 1.5), r"outside \[0, 1\]"),
        (KEY, np.full((30, 3), np.nan), r"outside \[0, 1\]"),
        (KEY, np.zeros((30, 3)), "cube-double-play, FQL: not the mean of its tasks"),
    ],
)
def test_what_is_not_known_is_named_and_not_guessed(
    key: tuple[str, str], value: np.ndarray, message: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=message):
        read_archive(written(tmp_path, small_archive() | {key: value}))


def test_command_line_writes_csv_and_ends_with_2_on_a_bad_file(tmp_path: Path) -> None:
    out = tmp_path / "curves.csv"
    command = [sys.executable, "-m", "analysis.import_archive"]
    good = written(tmp_path, small_archive())
    run = subprocess.run([*command, good, "--out", out], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "2 agents, 5 tasks, 3 seeds" in run.stdout and "RLPD left out" in run.stdout
    written_curves = pd.read_csv(out)
    assert len(written_curves) == 600 and written_curves["success"].between(0, 1).all()
    bad = subprocess.run([*command, written(tmp_path, [1])], cwd=ROOT, capture_output=True, text=True)
    assert bad.returncode == 2 and bad.stderr.startswith("error: ") and bad.stderr.count("\n") == 1
    missing = subprocess.run([*command, tmp_path / "none.pkl"], cwd=ROOT, capture_output=True, text=True)
    assert missing.returncode == 2 and "cannot read" in missing.stderr


@pytest.mark.skipif(not REAL.exists(), reason="the archive is not part of the project")
def test_the_real_archive_gives_the_published_figures() -> None:
    scores = final_scores(read_archive(REAL).curves)
    made = task_means(scores, interval="percentile").set_index(["agent", "task"])
    published = by_task().query("source == 'QAM archive'").set_index(["agent", "task"])
    assert len(made) == len(published) == 800
    together = published.join(made.add_suffix("_made"))
    assert np.abs(together["mean_made"] - together["success"]).max() < 5.1e-5
    # The intervals come from another random stream, so they agree to a fraction of their width.
    width = (together["high"] - together["low"]).clip(lower=0.02)
    for side in ("low", "high"):
        assert (np.abs(together[f"{side}_made"] - together[side]) / width).max() < 0.2


def own_runs(folder: Path) -> Results:
    write_run(folder, "fql", TASK.format(1), seeds=(0, 1), success=0.5)
    write_run(folder, "mine", TASK.format(2), seeds=(0, 1), success=0.25)
    return comparable(load_runs(folder))


@pytest.mark.parametrize("form", ["pickle", "csv"])
def test_archive_curves_stand_beside_own_runs_under_a_name_of_their_own(form: str, tmp_path: Path) -> None:
    path = written(tmp_path, small_archive())
    if form == "csv":
        write_csv(read_archive(path, online=True).curves, tmp_path / "curves.csv")
        path = tmp_path / "curves.csv"
    both = own_runs(tmp_path / "runs").beside_archive(path)
    curves = both.evaluations
    assert set(curves["agent"]) == {"fql", "mine", "fql (QAM archive)", "qam_e (QAM archive)"}
    theirs = curves[curves["source"] == "QAM archive"]
    # Only the tasks that were run, and only up to 1M updates, where the published figures were taken.
    assert set(theirs["task"]) == {TASK.format(1), TASK.format(2)} and theirs["step"].max() == 1_000_000
    assert "2 tasks run here" in both.notes[-1]
    last = small_archive()[KEY][19]
    made = task_means(final_scores(curves)).set_index(["agent", "task"])
    assert made.loc[("fql (QAM archive)", TASK.format(1)), "mean"] == pytest.approx(last.mean())
    assert made.loc[("fql", TASK.format(1)), "mean"] == 0.5


def test_tables_mark_own_rows_and_name_the_archive(tmp_path: Path) -> None:
    results = own_runs(tmp_path / "runs").beside_archive(written(tmp_path, small_archive()))
    table = domain_table(results)
    rows = {row[0]: (row[1], own) for row, own in zip(table.rows, table.own, strict=True) if row[1] != "published"}
    assert rows["fql"] == ("own", True) and rows["fql (QAM archive)"] == ("QAM archive", False)
    assert {row[0] for row in reproduction_table(results).rows} == {"fql"}


def test_without_own_runs_all_of_the_archive_is_shown(tmp_path: Path) -> None:
    path = written(tmp_path, small_archive())
    run = subprocess.run(
        [sys.executable, "-m", "analysis.tables", "--archive", path, "--format=csv"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "fql (QAM archive),QAM archive," in run.stdout


def test_a_csv_that_is_no_archive_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.csv"
    for content, reason in (("a,b\n1,2\n", "no column agent"), ("", "cannot read")):
        path.write_text(content)
        with pytest.raises(UserError, match=reason):
            read_curves(path)
    write_csv(read_archive(written(tmp_path, small_archive())).curves, path)
    good = path.read_text()
    for old, new, reason in (("cube-double", "cube-dobule", "unknown task"), ("0.5,", "1.5,", "success in")):
        path.write_text(good.replace(old, new))
        with pytest.raises(UserError, match=reason):
            read_curves(path)
