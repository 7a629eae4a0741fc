"""Runs are launched apart from one another: what happens to one does not touch the others, and is said at the end."""

import contextlib
import dataclasses
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from rich.console import Console

import run_all
from benchmark.common.errors import UserError
from benchmark.common.files import is_locked
from benchmark.common.reading import read_json
from benchmark.launching import front_door, slurm
from benchmark.launching import local as launch_module
from benchmark.launching.ledger import JobArray, Launch, read_launches
from benchmark.launching.local import LocalLauncher, Slot, gpus, run_locally, slots
from benchmark.launching.slurm_options import SlurmOptions
from benchmark.launching.status import run_states
from benchmark.planning.protocols import PROTOCOLS
from benchmark.planning.run import Run
from benchmark.runs.record import RunDirectory
from benchmark.runs.run import RunSpec

QUIET = Console(quiet=True)

FAULTS = {
    "raises": "raise ValueError('a line of its own\\nand another')",
    "dies": "os.kill(os.getpid(), signal.SIGKILL)",
    "hangs": "time.sleep(600)",
}
AGENT_FILE = '''"""An agent that does its harm where runs are done, and not where they are planned."""
import os, signal, sys, time
from agents.bc import BC

class Faulty(BC):
    """Faulty."""
    name = "{name}"

if "--specs" in sys.argv and not os.path.exists(__file__ + ".mended"):
    {fault}
'''


@pytest.fixture
def faulty(tmp_path):
    """Paths of the files of agents that fail, by their fault."""
    for name, fault in FAULTS.items():
        (tmp_path / f"{name}.py").write_text(AGENT_FILE.format(name=name, fault=fault))
    return {name: str(tmp_path / f"{name}.py") for name in FAULTS}


def spec_of(out, agent="bc", seed=0):
    return RunSpec(agent, "toy-modes", (seed,), {}, PROTOCOLS["empty"], str(out), "toy")


def states(out):
    return [RunDirectory(path).status.get("state") for path in sorted(out.glob("*/*/seeds-*"))]


def wait_until(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come"
        time.sleep(0.02)


# --------------------------------------------------------------------------------------------------- containment


def test_a_run_that_raises_or_is_killed_does_not_touch_the_others_of_its_process(tmp_path, faulty):
    out = tmp_path / "out"
    agents = ["bc", faulty["raises"], "bc", faulty["dies"], "bc"]
    runs = [spec_of(out, agent, seed) for seed, agent in enumerate(agents)]
    reasons = [outcome.reason for outcome in run_locally(runs, QUIET, runs_per_process=5)]
    assert [bool(reason) for reason in reasons] == [False, True, False, True, False]
    assert "does not import: ValueError: a line of its own" in reasons[1] and "\n" not in reasons[1]
    assert reasons[3] == "its process was killed by signal 9 (SIGKILL)"
    assert [RunDirectory(runs[i].path).status["state"] for i in (0, 2, 4)] == ["done"] * 3
    assert RunDirectory(runs[3].path).status["error"] == reasons[3]


def test_a_run_that_takes_too_long_is_killed(tmp_path, faulty):
    late = LocalLauncher([spec_of(tmp_path, faulty["hangs"])], QUIET, [Slot(0, {})], timeout=1)
    (outcome,) = late.run()
    assert outcome.reason == "it ran for more than 1 s and was killed"
    assert RunDirectory(outcome.path).status["state"] == "failed" and not late.processes


def test_the_last_lines_and_the_exit_code_say_what_failed(tmp_path, faulty, capsys):
    asked = ["--suite=toy", f"--agents=bc,{faulty['dies']}", "--tasks=toy-modes", "--seeds=0", "--protocol=empty"]
    assert run_all.main([*asked, f"--out={tmp_path / 'out'}"]) == 1
    last = capsys.readouterr().out.strip().splitlines()[-1]
    assert last.startswith(f"failed: {tmp_path}/out/dies/toy-modes/seeds-0: its process was killed by signal 9")
    assert last.endswith("log.txt)")


def test_failed_runs_are_launched_again_as_they_were_and_others_are_not(tmp_path, faulty, capsys):
    out = tmp_path / "out"
    asked = ["--suite=toy", f"--agents=bc,{faulty['dies']}", "--tasks=toy-modes", "--seeds=0", "--protocol=empty"]
    assert run_all.main([*asked, f"--out={out}", "--run-timeout=7"]) == 1
    (tmp_path / "dies.py.mended").touch()
    assert run_all.main(["--retry-failed", f"--out={out}"]) == 0
    assert [run.state for run in run_states(out)] == ["done", "done"]
    assert read_launches(out)[-1].about["options"]["timeout"] == 420
    starts = [len(read_json(out / agent / "toy-modes/seeds-0/provenance.json")["starts"]) for agent in ("bc", "dies")]
    assert starts == [1, 1]
    assert run_all.main(["--retry-failed", f"--out={out}"]) == 0
    assert "no run failed" in capsys.readouterr().out


@pytest.fixture
def failed(tmp_path):
    """Results of a run that failed, launched by Slurm or here, by the name of the launcher."""

    def launched(launcher="local", **cluster):
        out = tmp_path / launcher
        spec = spec_of(out)
        options = {**dataclasses.asdict(front_door.How(cluster=SlurmOptions(**cluster)))}
        options.pop("launcher")
        launch = Launch.begin(out, [spec], launcher, options)
        spec.path.mkdir(parents=True)
        spec.path.joinpath("config.json").write_text(json.dumps(Run(spec).config))
        RunDirectory(spec.path).set_status(state="failed", error="of old", step=0, steps=0)
        if launcher == "slurm":
            launch.about["submitted"] = [0]
            launch.add_array(JobArray("7", 0, 1, 1, "array-0"))
        return out

    return launched


@pytest.fixture
def launched_again(monkeypatch):
    """How runs were launched, in order; nothing is."""
    hows = []
    monkeypatch.setattr(front_door, "launch", lambda out, runs, how, *rest, **more: hows.append(how) or 0)
    monkeypatch.setattr(slurm, "queue", dict)
    monkeypatch.setattr(slurm, "ended", lambda jobs: {})
    return hows


@pytest.mark.parametrize(
    "option", ["--agents=bc", "--dry-run", "--cancel", "--anew", "--keep-checkpoints", "--set=alpha=3", "--status"]
)
def test_what_is_launched_again_takes_no_option_that_it_would_pass_over(failed, launched_again, option):
    name = option.split("=")[0]
    with pytest.raises(UserError, match=f"^{name} does not go with --retry-failed"):
        run_all.main(["--retry-failed", option, f"--out={failed()}"])
    assert not launched_again


def test_options_of_slurm_are_refused_where_runs_are_launched_again_here(failed, launched_again):
    with pytest.raises(UserError, match=r"--partition is for Slurm, and the runs of .* --launcher=local"):
        run_all.main(["--retry-failed", "--partition=gpu", f"--out={failed()}"])
    with pytest.raises(UserError, match=r"--memory is for Slurm, and the runs of .* --launcher=local"):
        run_all.main(["--retry-failed", "--launcher=local", "--memory=64G", f"--out={failed('slurm')}"])
    assert not launched_again


def test_a_file_of_slurms_options_and_flags_are_stronger_than_the_last_launch(failed, launched_again, tmp_path):
    out = failed("slurm", partition="gpu", memory="16G", time="4:00:00", cpus=3)
    (tmp_path / "cluster.yaml").write_text("memory: 64G\ntime: 12:00:00\n")
    given = [f"--slurm-config={tmp_path / 'cluster.yaml'}", "--time=8:00:00"]
    for options in ([], given):
        assert run_all.main(["--retry-failed", *options, f"--out={out}"]) == 0
    assert [how.cluster for how in launched_again] == [
        SlurmOptions(partition="gpu", memory="16G", time="4:00:00", cpus=3),
        SlurmOptions(partition="gpu", memory="64G", time="8:00:00", cpus=3),
    ]


# ---------------------------------------------------------------------------------------------- several at once


def test_no_more_processes_than_asked_are_at_work(tmp_path, monkeypatch):
    launcher = LocalLauncher([spec_of(tmp_path, seed=seed) for seed in range(5)], QUIET, slots(2), logs=tmp_path)
    at_once = []
    check = launcher.look_after
    monkeypatch.setattr(launcher, "look_after", lambda: (at_once.append(len(launcher.processes)), check()))
    assert [outcome.reason for outcome in launcher.run()] == [""] * 5
    assert max(at_once) == 2
    assert sorted(path.name for path in tmp_path.glob("*.log")) == ["worker-0.log", "worker-1.log"]


def test_processes_share_gpus_their_memory_and_the_cores(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,5")
    monkeypatch.delenv("JAX_PLATFORMS", raising=False)
    monkeypatch.delenv("XLA_PYTHON_CLIENT_MEM_FRACTION", raising=False)
    monkeypatch.setattr(launch_module, "usable_cores", lambda: list(range(8)))
    assert [slot.environment for slot in slots()] == [{"CUDA_VISIBLE_DEVICES": name} for name in "25"]
    assert [slot.cores for slot in slots()] == [(0, 2, 4, 6), (1, 3, 5, 7)]
    assert [slot.environment["CUDA_VISIBLE_DEVICES"] for slot in slots(4)] == ["2", "5", "2", "5"]
    assert {slot.environment["XLA_PYTHON_CLIENT_MEM_FRACTION"] for slot in slots(4)} == {"0.450"}
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    assert gpus() == []
    assert len(slots()) == 2 and slots(1)[0].cores == ()
    monkeypatch.setattr(launch_module, "usable_cores", lambda: [0, 1])
    assert len(slots()) == 1


def test_a_run_that_another_process_is_at_is_left_to_it(tmp_path):
    runs = [spec_of(tmp_path, seed=seed) for seed in range(2)]
    with RunDirectory(runs[0].path):
        first, second = run_locally(runs, QUIET)
        assert first.busy and not second.busy and not second.reason
    assert states(tmp_path) == [None, "done"]


def test_two_launches_of_a_plan_at_the_same_time_do_each_run_once(tmp_path):
    runs = [spec_of(tmp_path, seed=seed) for seed in range(6)]
    threads = [
        threading.Thread(target=run_locally, args=(runs, QUIET), kwargs={"runs_per_process": 2}) for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert states(tmp_path) == ["done"] * 6
    assert [len(read_json(spec.path / "provenance.json")["starts"]) for spec in runs] == [1] * 6


# ------------------------------------------------------------------------------------------ from another shell


@pytest.fixture
def hanging(tmp_path, faulty):
    """A launch, in a process of its own, that is at a run that hangs, with one more in the queue."""
    out = tmp_path / "out"
    command = [sys.executable, "run_all.py", "--suite=toy", "--protocol=empty", f"--out={out}"]
    command += [f"--agents={faulty['hangs']},bc", "--tasks=toy-modes", "--seeds=0"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    wait_until(lambda: children(process.pid))
    yield out, process
    with contextlib.suppress(ProcessLookupError):
        process.kill()
    process.wait()


def children(process):
    """Processes that a process started and that live."""
    found = []
    for entry in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            state, parent = Path(f"/proc/{entry}/stat").read_text().rpartition(") ")[2].split()[:2]
            if int(parent) == process and state != "Z":
                found.append(int(entry))
    return found


def alive(process):
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(") ")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_launch_is_watched_and_cancelled_from_another_shell(hanging, capsys):
    out, process = hanging
    run_all.main(["--status", f"--out={out}"])
    assert "2 runs; 2 queued" in capsys.readouterr().out
    runs = children(process.pid)
    assert run_all.main(["--cancel", f"--out={out}"]) == 0
    assert process.wait(60) == 130 and not any(map(alive, runs))
    text = capsys.readouterr().out
    assert f"ended the launcher, process {process.pid}" in text and "2 runs; 2 planned" in text


def test_runs_end_with_a_launcher_that_is_killed_and_their_locks_are_free(hanging):
    out, process = hanging
    (launch,) = read_launches(out)
    runs = children(process.pid)
    assert launch.is_alive()
    process.send_signal(signal.SIGKILL)
    process.wait()
    wait_until(lambda: not any(map(alive, runs)))
    assert not launch.is_alive()
    assert not any(is_locked(path) for path in out.glob("*/*/*/.lock"))
    assert [run.state for run in run_states(out)] == ["planned", "planned"]


def test_the_debug_launcher_raises_the_first_error_here(tmp_path, monkeypatch):
    def fail(run, quiet):
        raise ZeroDivisionError("to be looked at")

    monkeypatch.setattr("benchmark.loop.worker.train_run", fail)
    asked = ["--suite=toy", "--agents=bc", "--launcher=debug", "--protocol=empty", f"--out={tmp_path}"]
    with pytest.raises(ZeroDivisionError):
        run_all.main(asked)
    status = json.loads((tmp_path / "bc/toy-modes/seeds-0/status.json").read_text())
    assert status["state"] == "failed" and status["error"].startswith("ZeroDivisionError: to be looked at\nTraceback")


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--launcher=slrum"], "unknown launcher 'slrum' .did you mean 'slurm'"),
        (["--partition=gpu"], "--partition is for --launcher=slurm"),
        (["--runs-per-job=3"], "--runs-per-job is for --launcher=slurm"),
        (["--jobs=0"], "--jobs must be a whole number of at least 1"),
        (["--run-timeout=soon"], "--run-timeout must be a whole number"),
    ],
)
def test_what_cannot_be_launched_is_named_before_any_work(arguments, message, tmp_path):
    with pytest.raises(UserError, match=message):
        run_all.main(["--suite=toy", *arguments, f"--out={tmp_path / 'out'}"])
    assert not (tmp_path / "out").exists()
