"""A run that is killed in the middle of real training and evaluation ends with the records of one that was not."""

import dataclasses
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmark.common.reading import read_json
from benchmark.loop.checkpoints import CHECKSUMS
from benchmark.runs.protocol import Generated, Protocol
from benchmark.runs.run import RunSpec
from envs.ogbench.generating import generate_shards

ROOT = Path(__file__).parents[2]
PROTOCOL = Protocol(steps=1200, eval_every=600, eval_episodes=4, eval_first=True, log_every=100, checkpoint_every=300)


@pytest.fixture(scope="module")
def spec(tmp_path_factory):
    data = tmp_path_factory.mktemp("data")
    settings = dict(hidden=[16, 16], flow_steps=2, batch_size=16)
    task = "cube-single-play-singletask-task1-v0"
    return RunSpec("bc", task, (0, 5), settings, PROTOCOL, "", data=Generated(2000), data_dir=str(data))


def start(spec):
    """Start a run in a process group of its own, as a launcher does: it ends with who holds its standard input."""
    Path(spec.out).mkdir(parents=True, exist_ok=True)
    with (Path(spec.out) / "ends.jsonl").open("a") as ends:
        process = subprocess.Popen(
            [sys.executable, "-m", "benchmark.train", "--specs", str(ends.fileno())],
            **dict(cwd=ROOT, start_new_session=True, stdin=subprocess.PIPE, text=True, pass_fds=(ends.fileno(),)),
        )
    process.stdin.write(spec.to_json() + "\n\n")
    process.stdin.flush()
    return process


def wait_for(spec, process, ready):
    """Wait until the run's files satisfy `ready`, while the process lives."""
    deadline = time.monotonic() + 300
    while not ready(spec.path) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)


def step_reached(step):
    """And a checkpoint is there, which is written while training goes on."""

    def ready(path):
        written = any((path / "checkpoints").glob(f"*/{CHECKSUMS}"))
        return written and (read_json(path / "status.json", {}) or {}).get("step", -1) >= step

    return ready


def records(spec):
    return {name: (spec.path / name).read_text() for name in ("train.csv", "eval.csv")}


def kill_at(spec, moments):
    """Start a run and kill it at each moment in turn, then let it end."""
    for ready in moments:
        process = start(spec)
        wait_for(spec, process, ready)
        assert process.poll() is None, "the run ended before it could be killed"
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert start(spec).wait(300) == 0


def check_same(cut, whole, starts):
    """The records of a run that was cut are those of the whole one."""
    assert records(cut) == records(whole)
    assert len(read_json(cut.path / "provenance.json")["starts"]) == starts
    assert read_json(cut.path / "status.json")["state"] == "done"
    assert "continuing from step" in (cut.path / "log.txt").read_text()


@pytest.mark.slow
def test_a_run_killed_at_several_moments_ends_with_the_same_records(spec, tmp_path):
    whole, cut = (dataclasses.replace(spec, out=str(tmp_path / name)) for name in ("whole", "cut"))
    assert start(whole).wait(300) == 0
    moments = [
        lambda path: (path / "eval.csv").is_file(),  # right after the first evaluation
        step_reached(400),  # between two checkpoints
        lambda path: step_reached(900)(path) and (path / "train.csv").read_text().count("\n900,") > 0,  # later
    ]
    kill_at(cut, moments)
    check_same(cut, whole, starts=4)


@pytest.mark.slow
def test_a_run_killed_in_several_files_of_a_large_dataset_ends_with_the_same_records(tmp_path):
    generate_shards("cube-quadruple-play", 3, 1500, 0, tmp_path / "data", progress=False)
    protocol = Protocol(3300, 3300, 1, eval_first=False, log_every=100, checkpoint_every=400)
    spec = RunSpec(
        *("rql", "cube-quadruple-play-singletask-task1-v0", (0, 5)),
        *(dict(hidden=[16], ensemble=2, flow_steps=2, batch_size=16), protocol, ""),
        data_dir=str(tmp_path / "data"),
    )
    whole, cut = (dataclasses.replace(spec, out=str(tmp_path / name)) for name in ("whole", "cut"))
    assert start(whole).wait(300) == 0
    kill_at(cut, [step_reached(1300), step_reached(2500)])  # in the second and in the third file
    check_same(cut, whole, starts=3)
