"""Folders, addresses and files that cannot be used are named in one line, before anything is asked or written."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from analysis.import_archive import main
from analysis.reading.archive import read_curves
from analysis.reading.pickled import LARGEST_FILE, read_arrays
from benchmark import reversal, train
from benchmark.common.errors import UserError
from benchmark.loop import worker
from envs import download, generate
from envs.files import fetching
from envs.files import local as files
from envs.ogbench import generating

NAME = "cube-single-play-v0"
NOBODY = "http://127.0.0.1:9"


def refused(reason: str, task, *arguments) -> None:
    """What is raised is one line with the reason."""
    with pytest.raises(UserError, match=reason) as caught:
        task(*arguments)
    assert "\n" not in str(caught.value)


def bad_folders(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "one").symlink_to("two")
    (tmp_path / "two").symlink_to("one")
    (tmp_path / "nowhere").symlink_to("absent")
    (tmp_path / "file").write_text("")
    return {
        "a link to itself": str(tmp_path / "loop"),
        "two links in a circle": str(tmp_path / "one"),
        "below a loop": str(tmp_path / "loop" / "data"),
        "a link to nowhere": str(tmp_path / "nowhere"),
        "a file": str(tmp_path / "file"),
        "below a file": str(tmp_path / "file" / "data"),
        "a name too long": "n" * 5000,
        "the home of nobody": "~no-such-person/data",
        "a null character": "a\0b",
        "no name": "",
    }


FOLDERS = [
    *("a link to itself", "two links in a circle", "below a loop", "a link to nowhere"),
    *("a file", "below a file", "a name too long", "the home of nobody", "a null character", "no name"),
]


@pytest.mark.parametrize("case", FOLDERS)
def test_a_folder_that_cannot_hold_data_is_named(case, tmp_path):
    folder = bad_folders(tmp_path)[case]
    for options in ([], ["--dry-run"]):
        refused(
            "data folder|--data-dir",
            download.main,
            ["--dataset", NAME, "--base", NOBODY, "--data-dir", folder, *options],
        )
    refused("data folder", files.missing, [NAME], folder)
    task = "--task=cube-single-play-singletask-task1-v0"
    asked = ["--agent=bc", task, f"--data-dir={folder}", f"--out={tmp_path / 'runs'}"]
    refused("data folder|--data-dir", lambda: worker.execute(train.parse(asked)))
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("case", [case for case in FOLDERS if case not in ("the home of nobody", "no name")])
def test_where_generated_data_cannot_be_written_is_said_before_it_is_made(case, tmp_path):
    folder = bad_folders(tmp_path)[case]
    arguments = ["--dataset=cube-single-play", "--transitions=100"]
    for out in (folder, f"{folder}/x.npz", str(tmp_path / ("n" * 300)) + ".npz"):
        refused("cannot write|--out", generate.main, [*arguments, f"--out={out}"])


def test_an_empty_suite_is_not_no_suite(tmp_path):
    refused("--suite is empty", download.main, ["--dataset", NAME, "--suite=", f"--data-dir={tmp_path}"])


@pytest.mark.parametrize("folder", ["/proc/data", "/proc/self/fdinfo"])
def test_a_folder_that_cannot_be_written_is_named_before_any_source_is_asked(folder, monkeypatch):
    if not Path("/proc/self").is_dir():
        pytest.skip("there is no folder here that even root cannot write to")
    monkeypatch.setattr("requests.Session.send", lambda *_, **__: pytest.fail("a source was asked"))
    refused(f"cannot write to {folder}: ", download.main, ["--dataset", NAME, "--data-dir", folder])
    refused(f"cannot write to {folder}: ", fetching.ensure_dataset, NAME, folder)


def test_a_disk_that_fails_while_a_file_is_recorded_is_named(tmp_path, monkeypatch):
    arrays = dict(observations=np.zeros((4, 2)), actions=np.zeros((4, 1)), terminals=np.zeros(4))
    np.savez(tmp_path / f"{NAME}.npz", **arrays)
    (tmp_path / f"{NAME}.npz.json").mkdir()
    refused(rf"cannot write .*{NAME}\.npz: Is a directory", fetching.ensure_dataset, NAME, tmp_path, False)


ADDRESSES = [
    *("http://[bad", "http://", "http://:80", "http://host:99999", "http://host:x", "http://a b", "http://a\nb"),
    *("http://a\x1b[31m", "http://...", f"http://{'a' * 80}.com", "", "file:///etc", "host/data", "http://ü..", "-"),
]


@pytest.mark.parametrize("base", ADDRESSES)
def test_what_is_no_address_is_named_before_any_work(base, tmp_path):
    arguments = ["--dataset", NAME, "--data-dir", str(tmp_path / "new"), f"--base={base}"]
    refused(
        r"base address '.*' is not an http\(s\) address|--base (is empty|has a line break)", download.main, arguments
    )
    assert not (tmp_path / "new").exists()


def test_good_addresses_stay_good():
    bases = [
        *fetching.DEFAULT_BASES,
        NOBODY,
        "http://user:word@host:8080/a/b/",
        "http://[::1]:80",
        "https://bücher.de/x",
    ]
    assert fetching.base_addresses(bases) == tuple(base.rstrip("/") for base in bases)


@pytest.mark.parametrize("record", ["[1]", "7", "{", "[" * 100_000, '{"size": "x"}', '{"size": 1e999}', "\udcff"])
def test_a_damaged_record_of_a_file_is_as_good_as_none(record, tmp_path):
    path = tmp_path / f"{NAME}.npz"
    path.write_bytes(b"PK")
    (tmp_path / f"{NAME}.npz.json").write_text(record, errors="surrogateescape")
    (tmp_path / f"{NAME}.npz.0.part.json").write_text(
        '{"total": "many"}' if record == "7" else record, errors="replace"
    )
    assert not files.is_verified(path)
    assert [name for name, _ in files.missing([NAME], tmp_path)] == [f"{NAME}.npz"]


@pytest.mark.parametrize("count", ["-1", "0", "1e999", "1000000000", "[]", '"3"', "true", "2.5"])
def test_a_damaged_note_on_shards_is_as_good_as_none(count, tmp_path):
    (tmp_path / generating.SHARDS_NOTE).write_text(f'{{"shards": {count}}}')
    assert generating.shards_made(tmp_path) is None


# ---------------------------------------------------------------------------------------------- import_archive


def test_what_is_no_regular_file_is_not_read(tmp_path):
    os.mkfifo(tmp_path / "pipe.pkl")
    os.mkfifo(tmp_path / "pipe.csv")
    (tmp_path / "zeros.csv").symlink_to("/dev/zero")
    (tmp_path / "loop.csv").symlink_to("loop.csv")
    for path in ("/dev/zero", "/dev/urandom", "/dev/full", tmp_path / "pipe.pkl"):
        refused("is not a regular file", read_arrays, path)
    for name in ("pipe.csv", "zeros.csv"):
        refused("is not a regular file", read_curves, tmp_path / name)
    refused("cannot read .*symbolic links", read_curves, tmp_path / "loop.csv")
    refused("cannot read .*null", read_arrays, "a\0b")
    refused("is not a regular file", read_arrays, tmp_path)


@pytest.mark.parametrize("suffix", ["pkl", "csv"])
def test_a_file_beyond_the_limit_is_not_read(tmp_path, suffix):
    path = tmp_path / f"large.{suffix}"
    with path.open("wb") as file:
        file.truncate(LARGEST_FILE + 1)  # takes no room on the disk
    refused(f"at most {LARGEST_FILE:,}", read_curves, path)


def test_where_curves_cannot_be_written_is_said_before_reading_and_nothing_is_left(tmp_path, monkeypatch):
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "archive.pkl").write_bytes(b"")
    for out in ("", str(tmp_path), str(tmp_path / "absent" / "x.csv"), str(tmp_path / "loop" / "x.csv")):
        monkeypatch.setattr("sys.argv", ["import_archive", str(tmp_path / "archive.pkl"), f"--out={out}"])
        refused("cannot write|--out is empty", main)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["archive.pkl", "loop"]


# --------------------------------------------------------------------------------------------------- reversal


def run_of_rql(path: Path) -> Path:
    """The files of a run that is read no further than its options are checked."""
    path.mkdir()
    config = {"agent": "rql", "task": "cube-single-play-singletask-task1-v0", "seeds": [0], "hyperparameters": {}}
    config["protocol"] = {"steps": 1}
    (path / "config.json").write_text(json.dumps(config))
    start = {"dataset": {"path": str(path / "absent.npz")}}
    (path / "provenance.json").write_text(json.dumps({"starts": [start]}))
    return path


OPTIONS = {
    "--count=0": "--count must be a whole number of at least 1",
    "--count=x": "--count must be a whole number",
    "--count=1e12": "--count must be a whole number of at most 10,000",
    "--coordinates=": "--coordinates is empty",
    "--coordinates=0": "--coordinates must be two different whole numbers",
    "--coordinates=0,1,2": "--coordinates must be two different whole numbers",
    "--coordinates=a,b": "--coordinates must be two different whole numbers",
    "--coordinates=-1,0": "--coordinates must be two different whole numbers",
    "--coordinates=0,25": "--coordinates must be two numbers from 0 to 24",
    "--out=": "--out is empty",
    "--out=picture.png": "--out must be the name of a file ending in .npz",
    "--out=/absent/x.npz": "cannot write '/absent/x.npz': there is no folder /absent",
}


@pytest.mark.parametrize("option", OPTIONS)
def test_options_of_the_reversal_are_checked_before_anything_is_loaded(option, tmp_path, monkeypatch):
    path = run_of_rql(tmp_path / "run")
    (path / "checkpoints" / "1").mkdir(parents=True)
    arrays = dict(observations=np.zeros((4, 28)), actions=np.zeros((4, 5)), terminals=np.zeros(4))
    np.savez(path / "absent.npz", **arrays)
    monkeypatch.setattr("envs.data.dataset.load", lambda *_, **__: pytest.fail("the dataset was loaded"))
    before = sorted(tmp_path.rglob("*"))
    refused(OPTIONS[option], reversal.main, ["--run", str(path), option])
    assert sorted(tmp_path.rglob("*")) == before


def test_a_run_without_data_or_checkpoint_is_named_before_anything_is_loaded(tmp_path, monkeypatch):
    monkeypatch.setattr("envs.data.dataset.load", lambda *_, **__: pytest.fail("the dataset was loaded"))
    path = run_of_rql(tmp_path / "run")
    refused("no dataset at", reversal.main, ["--run", str(path)])
    np.savez(path / "absent.npz", observations=np.zeros((4, 28)), actions=np.zeros((4, 5)), terminals=np.zeros(4))
    refused("has no checkpoint", reversal.main, ["--run", str(path)])
    assert not (path / "checkpoints").exists()
    refused("--run is empty", reversal.main, ["--run="])
    refused("/dev/null", reversal.main, ["--run", "/dev/null"])
