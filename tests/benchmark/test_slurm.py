"""The launcher on a real Slurm of two nodes, which `make test-slurm` brings up: whatever happens to a job, nothing is
lost. Jobs are told apart by copies of one agent under different names, so that their records must be the same.
"""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import run_all
from benchmark.common.errors import UserError
from benchmark.common.reading import read_json
from benchmark.launching import slurm, status
from benchmark.launching.ledger import FOLDER, Launch, read_launches
from benchmark.launching.slurm import Limits, RunsJob
from benchmark.launching.slurm_options import SlurmOptions
from benchmark.runs.protocol import Protocol
from benchmark.runs.run import RunSpec

pytestmark = pytest.mark.slurm

PROTOCOL = Protocol(30_000, 10_000, 20, eval_first=True, log_every=500, checkpoint_every=5_000)
LONG = Protocol(800_000, 400_000, 20, eval_first=True, log_every=10_000, checkpoint_every=100_000)
"""A run of about a minute."""
EMPTY = Protocol(0, 0, 0, eval_first=False, log_every=0, checkpoint_every=0)
SETTINGS = dict(hidden=[16], flow_steps=2, batch_size=16)
COPY = '''"""Cloning under another name."""
import os, sys, time
from agents.bc import BC

class Copy(BC):
    """Cloning under another name."""
    name = "{name}"

if "--specs" in sys.argv and {seconds}:
    begun = time.time()
    time.sleep({seconds})
    with open({notes!r}, "a") as notes:
        print(begun, time.time(), os.environ["SLURMD_NODENAME"], os.environ["CUDA_VISIBLE_DEVICES"], file=notes)
'''
NAMES = ("untouched", "preempted", "timed_out", "requeued", "killed", "cancelled", "pending")


@pytest.fixture(scope="module", autouse=True)
def cluster():
    if "ClusterName             = tests" not in (slurm.ask("scontrol", "show", "config") or ""):
        pytest.fail("not the throw-away Slurm that `make test-slurm` brings up: these tests cancel all jobs")
    yield
    command("scontrol", "update", "nodename=n1,n2", "state=resume", check=False)


@pytest.fixture(autouse=True)
def empty_queue():
    yield
    command("scancel", "--user=root")
    wait_until(lambda: not slurm.queue())


def command(*words, check=True):
    return subprocess.run(words, check=check, capture_output=True, text=True).stdout


def wait_until(condition, seconds=600):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come"
        time.sleep(0.2)


def wait_for_end(launch, seconds=600, never_begun=()):
    """Until the jobs of a launch have left the queue, and accounting, which follows it by seconds, knows how. Jobs that
    were cancelled before they began are never seen by it.
    """
    jobs = {array.job_of(i) for array in launch.arrays for i in range(array.first, array.first + array.count)}
    jobs -= set(never_begun)
    wait_until(lambda: not slurm.queue() and jobs <= slurm.ended(jobs).keys(), seconds)


def copies(folder, names, protocol, seconds=0):
    """A run of each name, with the path of its agent's file."""
    folder.mkdir(exist_ok=True)
    runs = []
    for name in names:
        path = folder / f"{name}.py"
        path.write_text(COPY.format(name=name, seconds=seconds, notes=str(folder / "notes")))
        runs.append(RunSpec(str(path), "toy-modes", (0, 3), SETTINGS, protocol, str(folder / "out"), "toy"))
    return runs


def submit(runs, size=1, most=None, at_once=1, **options):
    """Submit runs; return the launch."""
    out = Path(runs[0].out)
    chosen = SlurmOptions(**{"cpus": 1, "time": "60", "signal_delay": 60, **options})
    slurm.check_cluster(chosen)
    launch = Launch.begin(out, runs, "slurm", {})
    launch.about["submitted"] = list(range(len(runs)))
    launch.save()
    slurm.submit(launch, runs, chosen, RunsJob(1, at_once, None, chosen.signal_delay), size, most or Limits())
    return launch


def states(launch):
    return {run.spec.agent.split("/")[-1][:-3]: run for run in status.run_states(launch.folder.parent.parent)}


def records(spec):
    return {name: (spec.path / name).read_text() for name in ("train.csv", "eval.csv")}


# -------------------------------------------------------------------------------------------------------- faults


def process_of(job):
    """The job's own process, which submitit runs."""
    array, task = job.split("_")
    wanted = {f"SLURM_ARRAY_JOB_ID={array}", f"SLURM_ARRAY_TASK_ID={task}"}
    for entry in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            words = Path(f"/proc/{entry}/cmdline").read_text().split("\0")
            environment = set(Path(f"/proc/{entry}/environ").read_text().split("\0"))
            if "submitit.core._submit" in words and "srun" not in words[0] and wanted <= environment:
                return int(entry)
    raise AssertionError(f"no process of {job}")


def test_whatever_happens_to_a_job_its_run_ends_with_the_same_records(tmp_path, capsys):
    runs = copies(tmp_path, NAMES, PROTOCOL)
    launch = submit(runs, parallel=6)
    (array,) = launch.arrays
    job = {name: array.job_of(index) for index, name in enumerate(NAMES)}
    spec = dict(zip(NAMES, runs, strict=True))
    pending = NAMES[-1]

    assert slurm.queue()[job[pending]] == "PENDING"
    command("scancel", job[pending])

    def step(name):
        return (read_json(spec[name].path / "status.json", {}) or {}).get("step", -1)

    def preempt():  # as submitit's own test of preemption: TERM, then USR2
        command("scancel", "--signal=TERM", job["preempted"])
        time.sleep(1)
        command("scancel", "--signal=USR2", job["preempted"])

    disturbances = {
        "preempted": preempt,
        "timed_out": lambda: command("scancel", "--signal=USR2", job["timed_out"]),
        "requeued": lambda: command("scontrol", "requeue", job["requeued"]),
        "cancelled": lambda: command("scancel", job["cancelled"]),
        "killed": lambda: os.kill(process_of(job["killed"]), signal.SIGKILL),
    }
    while disturbances:  # in whichever order they come so far: jobs begin when the machine has time for them
        wait_until(lambda: any(step(name) >= 1000 for name in disturbances))
        for name in [name for name in disturbances if step(name) >= 1000]:
            assert step(name) < PROTOCOL.steps, f"{name} was done before it could be disturbed"
            disturbances.pop(name)()
    node = read_json(spec["untouched"].path / "provenance.json")["starts"][0]["allocation"]["SLURMD_NODENAME"]
    command("scontrol", "update", f"nodename={node}", "state=drain", "reason=test")

    wait_for_end(launch, never_begun=[job[pending]])
    command("scontrol", "update", f"nodename={node}", "state=resume")
    found = states(launch)
    ended = {name: run.state for name, run in found.items()}
    same = ("untouched", "preempted", "timed_out", "requeued")
    assert ended == dict.fromkeys(same, "done") | {"killed": "stopped", "cancelled": "stopped", "pending": "planned"}
    assert found["cancelled"].reason == f"its job {job['cancelled']} ended as CANCELLED"
    assert found["killed"].reason == f"its job {job['killed']} ended as FAILED"
    for name in same[1:]:
        assert len(read_json(spec[name].path / "provenance.json")["starts"]) == 2, name
        assert "continuing from step" in (spec[name].path / "log.txt").read_text(), name

    again = submit([spec[name] for name in ("killed", "cancelled", "pending")])
    wait_for_end(again)
    assert {run.state for run in states(again).values()} == {"done"}
    for name in NAMES:
        assert records(spec[name]) == records(spec["untouched"]), name


def test_a_run_that_takes_longer_than_a_job_may_goes_on_in_others_to_the_same_records(tmp_path):
    runs = copies(tmp_path, ("undisturbed", "limited"), LONG)
    free, limited = submit(runs[:1]), submit(runs[1:], time="1", signal_delay=20)
    wait_for_end(limited, seconds=1200)
    assert {run.state for run in states(limited).values()} == {"done"}
    whole, cut = (len(read_json(run.path / "provenance.json")["starts"]) for run in runs)
    print(f"a run under a limit of one minute was begun {cut} times")
    assert whole == 1 < cut
    (job,) = slurm.ended([limited.arrays[0].job]).values()
    assert job == "COMPLETED" and free.arrays[0].job != limited.arrays[0].job
    assert records(runs[1]) == records(runs[0])


# ------------------------------------------------------------------------------------------- devices and limits


def test_jobs_at_once_are_as_many_as_asked_each_with_a_gpu_of_its_own(tmp_path):
    runs = copies(tmp_path, [f"copy{i}" for i in range(6)], EMPTY, seconds=6)
    launch = submit(runs, parallel=4, gpus=1, most=Limits(array=4))
    assert [array.jobs for array in launch.arrays] == [4, 2]
    wait_until(lambda: not slurm.queue())
    assert {run.state for run in states(launch).values()} == {"done"}
    lines = [line.split() for line in (tmp_path / "notes").read_text().splitlines()]
    spans = [(float(begun), float(ended), node, gpu) for begun, ended, node, gpu in lines]
    together = [[other for other in spans if other[0] <= span[0] < other[1]] for span in spans]
    assert max(map(len, together)) in (3, 4)
    for at_once in together:
        assert len({(node, gpu) for _, _, node, gpu in at_once}) == len(at_once)


PASSED_ON = {
    ("exclude=n2",): "ExcNodeList=n2",
    ("nodelist=n1",): "ReqNodeList=n1",
    ("reservation=kept",): "Reservation=kept",
    ("mail-user=someone@lab.org", "mail-type=END,FAIL"): "MailUser=someone@lab.org",
    ("gres=gpu:a100:1",): "TresPerNode=gres.gpu:a100:1",
    ("comment=two words",): "Comment=two words",
    ("nice=7",): "Nice=7",
    ("exclusive",): "OverSubscribe=(NO|EXCLUSIVE)",
    ("job-name=mine",): "JobName=mine",
    ("mem-per-cpu=1G",): "MinMemoryCPU=1G",
}


@pytest.fixture
def reservation():
    """Of a node, from now on."""
    asked = ["reservation=kept", "starttime=now", "duration=60", "users=root", "nodes=n2", "flags=ignore_jobs"]
    command("scontrol", "create", *asked)
    yield
    command("scancel", "--user=root")
    wait_until(lambda: not slurm.queue())
    command("scontrol", "delete", "reservation=kept")


@pytest.mark.parametrize("flags", PASSED_ON)
def test_what_a_site_requires_reaches_the_job_unchanged(tmp_path, reservation, flags):
    launch = submit(copies(tmp_path, ["copy"], EMPTY, seconds=30), partition="main,short", sbatch=flags)
    shown = command("scontrol", "show", "job", launch.arrays[0].job)
    assert re.search(PASSED_ON[flags], shown)
    assert re.search(r"Partition=(main,short|main|short)\s", shown)


def test_a_job_of_several_gpus_is_filled_by_several_runs_each_with_one(tmp_path, monkeypatch):
    runs = copies(tmp_path, [f"copy{i}" for i in range(4)], EMPTY, seconds=6)
    monkeypatch.delenv("JAX_PLATFORMS", raising=False)
    launch = submit(runs, size=4, at_once=None, gpus="a100:2", cpus=2)
    assert [array.jobs for array in launch.arrays] == [1]
    wait_for_end(launch)
    assert {run.state for run in states(launch).values()} == {"done"}
    lines = [line.split() for line in (tmp_path / "notes").read_text().splitlines()]
    spans = [(float(begun), float(ended), node, gpu) for begun, ended, node, gpu in lines]
    assert len({node for _, _, node, _ in spans}) == 1 and sorted(gpu for *_, gpu in spans) == ["0", "0", "1", "1"]
    together = [{gpu for begun, ended, _, gpu in spans if begun <= span[0] < ended} for span in spans]
    assert max(map(len, together)) == 2


def test_jobs_run_in_the_container_that_is_asked_for(tmp_path):
    box = tmp_path / "box"
    box.write_text(f'#!/bin/sh\necho $1 $2 >>{tmp_path}/seen\nshift 2\nIN_A_BOX=1 exec "$@"\n')
    box.chmod(0o755)
    inside = f"export PATH={Path(sys.executable).parent}:$PATH"
    launch = submit(copies(tmp_path, ["copy"], EMPTY), container=f"{box} exec image.sif", setup=(inside,))
    wait_for_end(launch)
    assert {run.state for run in states(launch).values()} == {"done"}
    assert (tmp_path / "seen").read_text() == "exec image.sif\n"


def test_a_users_limit_on_jobs_packs_runs_and_is_named(tmp_path):
    command("sacctmgr", "-i", "modify", "user", "root", "set", "MaxSubmitJobs=3")
    try:
        wait_until(lambda: slurm.limits(SlurmOptions()).jobs == 3)
        most = slurm.limits(SlurmOptions())
        assert slurm.runs_per_job(10, None, 1, most) == 4
        with pytest.raises(UserError, match=r"takes now \(MaxSubmitJobs=3\); --runs-per-job=4 would fit"):
            slurm.runs_per_job(10, 3, 1, most)
        launch = submit(copies(tmp_path, [f"copy{i}" for i in range(5)], EMPTY), size=2)
        wait_until(lambda: not slurm.queue())
        assert {run.state for run in states(launch).values()} == {"done"}
    finally:
        command("sacctmgr", "-i", "modify", "user", "root", "set", "MaxSubmitJobs=-1")


@pytest.mark.parametrize(
    "flag, message",
    [
        ("--partition=mian", "unknown partition 'mian' .did you mean 'main'"),
        ("--account=lob", "unknown account 'lob' .did you mean 'lab'"),
        ("--cpus=99", "Slurm refuses such jobs: .*not available"),
        ("--constraint=a100", "Slurm refuses such jobs: .*Invalid feature"),
        ("--time=8-0", "a job may take 7-00:00:00 in partition 'main', and --time asks for 8-0"),
        ("--gpus=3", "Slurm refuses such jobs: .*not available"),
        ("--gpus=h100:1", "Slurm refuses such jobs: "),
        ("--partition=main,shrt", "unknown partition 'shrt' .did you mean 'short'"),
        ("--sbatch=exclud-nodes=n1", "Slurm refuses such jobs: unrecognized option '--exclud-nodes=n1'"),
        ("--sbatch=gres=gpu:h100:1", "Slurm refuses such jobs: .*"),
        ("--sbatch=nodelist=n7", "Slurm refuses such jobs: .*[Ii]nvalid node name"),
        ("--sbatch=reservation=none", "Slurm refuses such jobs: .*reservation is invalid"),
        ("--sbatch=licenses=matlab", "Slurm refuses such jobs: .*[Ii]nvalid license"),
    ],
)
def test_what_the_cluster_would_refuse_is_said_before_anything_is_submitted(tmp_path, flag, message):
    asked = ["--suite=toy", "--agents=bc", "--launcher=slurm", "--protocol=empty", f"--out={tmp_path}"]
    with pytest.raises(UserError, match=message):
        run_all.main([*asked, flag])
    assert not (tmp_path / FOLDER).exists() and not slurm.queue()


def test_a_failed_run_is_reported_by_watching_and_retried_as_it_was_launched(tmp_path, capsys):
    (spec,) = copies(tmp_path, ["failing"], EMPTY)
    asked = ["--suite=toy", f"--agents=bc,{spec.agent}", "--launcher=slurm", "--protocol=empty", "--tasks=toy-modes"]
    good = (tmp_path / "failing.py").read_text()
    (tmp_path / "failing.py").write_text(good + "\nif '--specs' in sys.argv:\n    raise ValueError('broken')\n")
    config = tmp_path / "slurm.yaml"
    config.write_text("partition: main\ncpus: 1\nmemory: 1G\nsetup: [export SEEN=1]\n")
    out = tmp_path / "out"
    assert run_all.main([*asked, f"--slurm-config={config}", "--watch", f"--out={out}", "--runs-per-job=2"]) == 1
    assert "does not import: ValueError: broken" in capsys.readouterr().out
    (tmp_path / "failing.py").write_text(good)
    assert run_all.main(["--retry-failed", "--watch", f"--out={out}"]) == 0
    first, second = read_launches(out)
    assert second.about["options"] == first.about["options"]
    assert second.about["options"]["cluster"]["memory"] == "1G" and len(second.submitted) == 1


def test_twelve_thousand_runs_are_planned_submitted_in_arrays_watched_and_cancelled(tmp_path, capsys):
    asked = ["--suite=ogbench", "--seeds-per-process=1", "--protocol=empty", "--launcher=slurm", "--cpus=8"]
    assert run_all.main([*asked, "--parallel=2", f"--out={tmp_path}"]) == 0
    (launch,) = read_launches(tmp_path)
    assert sum(array.count for array in launch.arrays) == 12_000
    assert len(launch.arrays) > 5 and max(array.jobs for array in launch.arrays) <= 1000
    started = time.perf_counter()
    command(sys.executable, "run_all.py", "--status", f"--out={tmp_path}")
    print(f"status of 12,000 runs: {time.perf_counter() - started:.1f} s")
    assert time.perf_counter() - started < 5
    assert run_all.main([*asked, f"--out={tmp_path}"]) == 0  # given again, nothing is submitted twice
    assert len(read_launches(tmp_path)) == 1
    assert max(len(os.listdir(folder)) for folder, _, _ in os.walk(tmp_path)) <= 1000
    assert run_all.main(["--cancel", f"--out={tmp_path}"]) == 0
    assert not slurm.queue()
