"""Downloads against a real server on loopback that fails in every way a real host has."""

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
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from benchmark.common.errors import UserError
from envs import download
from envs.files import fetching as dl
from envs.files import local as files
from envs.files import transfer
from envs.ogbench import episodes
from tests.helpers.host import FILE, NAME, QUICK, SHA, WHOLE, Host, npz

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def host(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    host = Host({FILE: WHOLE})
    yield host
    host.server.shutdown()
    host.server.server_close()


def fetch(host: Host, folder: Path, *more_bases: str) -> Path:
    return dl.ensure_dataset(NAME, folder, bases=[host.base, *more_bases], patience=QUICK)


def assert_whole(folder: Path, content: bytes = WHOLE) -> None:
    """The file is there, recorded, and nothing of the transfer is left beside it."""
    path = folder / FILE
    assert path.read_bytes() == content
    record = json.loads((folder / f"{FILE}.json").read_text())
    assert record["sha256"] == hashlib.sha256(content).hexdigest()
    assert record["size"] == len(content)
    assert not list(folder.glob("*.part*"))


def test_file_arrives_with_its_record_and_is_not_asked_for_again(host, tmp_path):
    path = fetch(host, tmp_path)
    assert path == tmp_path / FILE
    assert_whole(tmp_path)
    record = files.read_record(path)
    assert record["source"] == f"{host.base}/{FILE}"
    assert (record["rows"], record["observation_dim"], record["action_dim"]) == (8000, 10, 5)
    fetch(host, tmp_path)
    assert len(host.log) == 1


@pytest.mark.parametrize("fault", ["drop:200000", "stall:200000"])
def test_broken_transfer_resumes_at_the_byte_it_reached(host, tmp_path, fault):
    host.faults = [fault]
    fetch(host, tmp_path)
    assert_whole(tmp_path)
    second = host.gets()[1]
    assert len(host.gets()) == 2
    resumed_at = int(second["range"].removeprefix("bytes=").rstrip("-"))
    assert 200000 - files.BLOCK <= resumed_at <= 200000
    assert second["sent"] == len(WHOLE) - resumed_at


def test_many_drops_in_a_row_are_outlasted_as_long_as_bytes_arrive(host, tmp_path):
    host.faults = ["drop:70000"] * (QUICK.rounds + 3)
    fetch(host, tmp_path)
    assert_whole(tmp_path)


def test_host_that_ignores_ranges_is_read_from_the_start(host, tmp_path):
    host.faults, host.ranges = ["drop:200000"], False
    fetch(host, tmp_path)
    assert_whole(tmp_path)
    assert host.gets()[1]["range"]
    assert host.gets()[1]["sent"] == len(WHOLE)


def test_host_that_ignores_ranges_and_always_drops_is_given_up(host, tmp_path):
    host.faults, host.ranges = ["drop:200000"] * 50, False
    with pytest.raises(UserError, match=r"dropped|closed after"):
        fetch(host, tmp_path)
    assert len(host.gets()) <= QUICK.rounds + 1
    assert not (tmp_path / FILE).exists()


@pytest.mark.parametrize("second", ["", "mixes"], ids=["host honours If-Range", "host ignores If-Range"])
@pytest.mark.parametrize("etag", [True, False], ids=["etag", "no etag"])
def test_file_that_changed_between_attempts_is_not_mixed(host, tmp_path, second, etag):
    host.faults, host.etag = ["drop:200000", "503", "503", "503"], etag
    with pytest.raises(UserError, match="next call resumes"):
        fetch(host, tmp_path)
    changed = npz(seed=1)
    host.files[FILE] = changed
    host.faults, asked = [second], len(host.gets())
    fetch(host, tmp_path)
    assert_whole(tmp_path, changed)
    # A guarded request is answered with the whole new file; an unguarded one costs a second request.
    assert len(host.gets()) - asked == (1 if etag and not second else 2)


def test_busy_host_is_asked_again_no_sooner_than_it_says(host, tmp_path):
    host.faults = ["503:1", "429:1"]
    began = time.monotonic()
    fetch(host, tmp_path)
    assert time.monotonic() - began >= 2.0
    assert_whole(tmp_path)


@pytest.mark.parametrize("fault", ["long", "unstated:150000"])
def test_wrong_or_missing_length_does_not_leave_a_truncated_file(host, tmp_path, fault):
    host.faults = [fault]
    fetch(host, tmp_path)
    assert_whole(tmp_path)


def test_length_always_too_short_is_an_error_not_a_truncated_file(host, tmp_path):
    host.faults = ["short"] * 20
    with pytest.raises(UserError, match="not a whole"):
        fetch(host, tmp_path)
    assert not (tmp_path / FILE).exists()


def test_web_page_is_refused_after_its_first_bytes_and_the_mirror_serves(host, tmp_path):
    mirror = Host({FILE: WHOLE})
    host.faults = ["page"] * 20
    fetch(host, tmp_path, mirror.base)
    assert_whole(tmp_path)
    assert len(host.gets()) == 1
    assert files.read_record(tmp_path / FILE)["source"].startswith(mirror.base)


WRONG = {
    "no terminals in it": npz(10, terminals=None),
    "row counts differ": npz(10, actions=np.zeros((9, 5), np.float32)),
    "not finite": npz(10, observations=np.full((10, 3), np.nan, np.float32)),
    "not \\(rows, dimensions\\)": npz(10, observations=np.zeros((10, 0), np.float32)),
    "Python objects": npz(10, qpos=np.array([None] * 10)),
}


@pytest.mark.parametrize("reason", WRONG)
def test_archive_that_is_no_dataset_is_refused_once(host, tmp_path, reason):
    host.files[FILE] = WRONG[reason]
    with pytest.raises(UserError, match=reason):
        fetch(host, tmp_path)
    assert len(host.gets()) == 1
    assert [p.name for p in tmp_path.iterdir()] == [".locks"]


def test_flipped_byte_is_found_by_the_archive_checksum(host, tmp_path):
    flipped = bytearray(WHOLE)
    flipped[len(WHOLE) // 3] ^= 0xFF
    host.files[FILE] = bytes(flipped)
    with pytest.raises(UserError, match="not a whole"):
        fetch(host, tmp_path)
    assert not (tmp_path / FILE).exists()


def test_announced_sha256_must_agree(host, tmp_path):
    host.files["elsewhere"] = npz(seed=2)
    host.faults = ["redirect:elsewhere"]
    fetch(host, tmp_path)
    assert [entry["path"] for entry in host.gets()] == ["/data/" + FILE, "/data/elsewhere", "/data/" + FILE]
    assert_whole(tmp_path)


def test_unreachable_host_error_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    gone = Host({})
    gone.server.server_close()
    with pytest.raises(UserError) as error:
        fetch(gone, tmp_path)
    text = str(error.value)
    for part in ("connection refused", "--base", str(tmp_path), "by hand", "envs.generate"):
        assert part in text
    assert "\n" not in text
    with pytest.raises(UserError, match="cannot be generated"):
        dl.ensure_dataset("humanoidmaze-large-navigate-v0", tmp_path, bases=[gone.base], patience=QUICK)


def test_what_could_not_be_fetched_is_said_to_be_generated_exactly_where_it_can_be(tmp_path, monkeypatch):
    def advice(name: str) -> str:
        return dl._advice(f"{name}-v0.npz", tmp_path / f"{name}-v0.npz", ["host: HTTP 404"])

    for name in ("cube-double-play", "antmaze-large-navigate", "antmaze-large-stitch"):
        assert f"or generate it: python -m envs.generate --dataset={name} --out={tmp_path}" in advice(name)
    make = r"cannot be generated here: there is no expert for the {0} in .*; train one: .* --body={0}"
    assert re.search(make.format("humanoid"), advice("humanoidmaze-medium-navigate"))
    assert "cannot be generated" in dl._advice("d4rl/x/y.hdf5", tmp_path / "d4rl/x/y.hdf5", ["host: HTTP 404"])
    monkeypatch.setattr(episodes, "EXPERTS", tmp_path / "none")
    assert re.search(make.format("ant"), advice("antmaze-large-navigate"))


SHARDED = "cube-quadruple-play-100m-v0"


def test_no_one_is_told_to_generate_among_shards_that_were_fetched(tmp_path):
    def advice() -> str:
        file = f"{SHARDED}/cube-quadruple-play-v0-050.npz"
        return dl._advice(file, tmp_path / file, ["host: HTTP 404"])

    assert f"--dataset=cube-quadruple-play --out={tmp_path} --shards=100" in advice()
    (tmp_path / SHARDED).mkdir()
    (tmp_path / SHARDED / "cube-quadruple-play-v0-000.npz").write_bytes(WHOLE)
    assert "in another data folder" in advice() and f"--out={tmp_path}" not in advice()
    (tmp_path / SHARDED / "cube-quadruple-play-v0-000.npz.json").write_text('{"source": "generated"}')
    assert f"--out={tmp_path}" in advice()


def test_published_shards_are_not_fetched_into_a_folder_of_generated_ones(host, tmp_path):
    (tmp_path / SHARDED).mkdir()
    (tmp_path / SHARDED / "shards.json").write_text('{"source": "generated", "shards": 3}')
    said = "is a folder of 3 generated shards.*another --data-dir"
    for fetch_shards in (dl.ensure_dataset, lambda name, *more, **options: dl.download([name], *more, **options)):
        with pytest.raises(UserError, match=said):
            fetch_shards(SHARDED, tmp_path, bases=[host.base], progress=False, patience=QUICK)
    assert host.gets() == []


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("cube-double-play", FILE),
        (NAME, FILE),
        ("puzzle-4x4-play", "puzzle-4x4-play-v0.npz"),
        ("puzzle-4x4-play-100m", "puzzle-4x4-play-100m-v0/puzzle-4x4-play-v0-000.npz"),
        ("pen-human-v1", "d4rl/hand_dapg_v1/pen-human-v1.hdf5"),
    ],
)
def test_a_dataset_is_named_with_or_without_its_version(name, file, tmp_path, capsys):
    download.main(["--dataset", name, "--dry-run", "--data-dir", str(tmp_path)])
    assert capsys.readouterr().out.split()[0] == file


def test_absent_file_is_asked_for_once_at_each_source(host, tmp_path):
    host.files.clear()
    with pytest.raises(UserError, match="HTTP 404"):
        fetch(host, tmp_path, host.base + "/mirror")
    assert len(host.gets()) == 2


def test_truncated_file_is_replaced_only_when_a_whole_one_is_here(host, tmp_path):
    (tmp_path / FILE).write_bytes(WHOLE[:100000])
    assert [file for file, _ in files.missing([NAME], tmp_path)] == [FILE]
    host.faults = ["404"]
    with pytest.raises(UserError, match="damaged and stays"):
        fetch(host, tmp_path)
    assert (tmp_path / FILE).read_bytes() == WHOLE[:100000]
    fetch(host, tmp_path)
    assert_whole(tmp_path)
    assert (tmp_path / f"{FILE}.corrupt").read_bytes() == WHOLE[:100000]


def test_whole_file_put_there_by_hand_is_recorded_without_the_network(host, tmp_path):
    (tmp_path / FILE).write_bytes(WHOLE)
    assert files.missing([NAME], tmp_path) == []
    fetch(host, tmp_path)
    assert host.log == []
    assert files.read_record(tmp_path / FILE)["sha256"] == SHA


def test_generated_file_keeps_the_record_of_its_making(host, tmp_path):
    (tmp_path / FILE).write_bytes(WHOLE)
    made = {"source": "generated", "seed": 3, "rows": 8000}
    (tmp_path / f"{FILE}.json").write_text(json.dumps(made))
    assert files.missing([NAME], tmp_path) == []
    fetch(host, tmp_path)
    assert host.log == []
    assert made.items() <= files.read_record(tmp_path / FILE).items()
    assert files.is_verified(tmp_path / FILE)


def test_disk_too_small_is_said_before_the_first_byte(host, tmp_path, monkeypatch):
    monkeypatch.setattr(transfer, "SPARE_BYTES", 1 << 60)
    with pytest.raises(UserError, match="to spare"):
        dl.download([NAME], tmp_path, bases=[host.base], patience=QUICK, progress=False)
    assert host.gets() == []
    with pytest.raises(UserError, match="to spare"):
        fetch(host, tmp_path)
    assert host.gets()[0]["sent"] == 0 or not list(tmp_path.glob("*.npz"))


CHILD = f"""
import sys
from envs.files.fetching import ensure_dataset
from envs.files.transfer import Patience
ensure_dataset("{NAME}", sys.argv[1], bases=[sys.argv[2]], patience=Patience(lock_poll=0.05, first_wait=0.02))
"""


def start_child(folder: Path, host: Host) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, str(folder), host.base],
        cwd=ROOT,
        env=os.environ | {"NO_PROXY": "127.0.0.1"},
        stderr=subprocess.PIPE,
        text=True,
    )


def test_eight_processes_that_start_together_fetch_the_file_once(host, tmp_path):
    host.pause = 0.03
    children = [start_child(tmp_path, host) for _ in range(8)]
    said = [child.communicate(timeout=60)[1] for child in children]
    assert [child.returncode for child in children] == [0] * 8, said
    assert len(host.gets()) == 1
    assert host.gets()[0]["sent"] == len(WHOLE)
    assert any("another process is fetching it" in text for text in said)
    assert_whole(tmp_path)


def test_killed_download_is_resumed_by_the_next_run(host, tmp_path):
    host.pause = 0.05
    child = start_child(tmp_path, host)
    deadline = time.monotonic() + 30
    while not any(p.stat().st_size > 100000 for p in tmp_path.glob("*.part")):
        assert time.monotonic() < deadline and child.poll() is None
        time.sleep(0.01)
    child.send_signal(signal.SIGKILL)
    child.communicate()
    reached = next(tmp_path.glob("*.part")).stat().st_size
    assert reached < len(WHOLE)
    host.pause = 0.0
    fetch(host, tmp_path)
    assert host.gets()[1]["range"] == f"bytes={reached}-"
    assert_whole(tmp_path)


def test_threads_of_one_process_fetch_the_file_once(host, tmp_path):
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: fetch(host, tmp_path), range(4)))
    assert len(host.gets()) == 1


def test_shards_arrive_in_their_folder_under_the_published_names(host, tmp_path):
    names = files.files_of("puzzle-4x4-play-100m-v0", validation=True)
    assert names[:2] == [
        "puzzle-4x4-play-100m-v0/puzzle-4x4-play-v0-000.npz",
        "puzzle-4x4-play-100m-v0/puzzle-4x4-play-v0-000-val.npz",
    ]
    assert (len(names), names[-1][-11:]) == (200, "099-val.npz")
    small = npz(20)
    host.files |= {file: small for file in files.files_of("puzzle-4x4-play-100m-v0")}
    dl.download(["puzzle-4x4-play-100m-v0"], tmp_path, [host.base], progress=False, patience=QUICK)
    assert len(list((tmp_path / "puzzle-4x4-play-100m-v0").glob("*.npz"))) == 100
    victim = tmp_path / "puzzle-4x4-play-100m-v0" / "puzzle-4x4-play-v0-042.npz"
    victim.write_bytes(small[:50])
    assert [file for file, _ in files.missing(["puzzle-4x4-play-100m-v0"], tmp_path)] == [
        f"{victim.parent.name}/{victim.name}"
    ]


def test_missing_names_sizes_without_the_network(tmp_path):
    ((file, size),) = files.missing([NAME, NAME], tmp_path)
    assert (file, size) == (FILE, 297_000_000)


def test_one_failing_dataset_does_not_stop_the_others(host, tmp_path):
    with pytest.raises(UserError, match="scene-play"):
        dl.download(["scene-play-v0", NAME], tmp_path, [host.base], progress=False, patience=QUICK)
    assert_whole(tmp_path)


def command(*arguments: str, **variables: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "envs.download", *arguments],
        cwd=ROOT,
        env=os.environ | {"NO_PROXY": "127.0.0.1"} | variables,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_command_takes_folder_and_sources_from_the_environment(host, tmp_path):
    done = command("--domain", "cube-double-play", RQL_DATA_DIR=str(tmp_path), RQL_DATA_BASES=host.base)
    assert done.returncode == 0, done.stderr
    assert_whole(tmp_path)
    assert zipfile.is_zipfile(tmp_path / FILE)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--dataset", "cube-dubble-play-v0"], "did you mean 'cube-double-play-v0'"),
        ([], "nothing to fetch"),
        (["--dataset", NAME, "--base", "ftp://host"], "not an http(s) address"),
    ],
)
def test_bad_arguments_are_named_before_any_work(tmp_path, arguments, said):
    with pytest.raises(UserError) as error:
        download.main([*arguments, "--data-dir", str(tmp_path / "new")])
    assert said in str(error.value)
    assert not (tmp_path / "new").exists()


def test_command_fails_in_one_line_with_exit_code_two(tmp_path):
    done = command("--dataset", NAME, "--data-dir", str(tmp_path), "--base", "ftp://host")
    assert done.returncode == 2
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1


def test_suite_names_every_dataset_of_its_tasks(capsys, tmp_path):
    download.main(["--suite=ogbench", "--dry-run", "--data-dir", str(tmp_path)])
    listed = capsys.readouterr().out.splitlines()
    assert len(listed) == 8 + 2 * 100
    assert len([line for line in listed if line.startswith("cube-quadruple-play-100m-v0/")]) == 100
