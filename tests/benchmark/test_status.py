"""The status page tells from files alone how every run stands."""

import dataclasses
import io
import json
import os
import time

import pytest
from rich.console import Console

from benchmark.common.errors import UserError
from benchmark.launching import slurm
from benchmark.launching.ledger import JobArray, Launch
from benchmark.launching.slurm_options import SlurmOptions
from benchmark.launching.status import cancel, page, run_states, show
from benchmark.planning.protocols import PROTOCOLS
from benchmark.runs.protocol import Online
from benchmark.runs.record import RunDirectory
from benchmark.runs.run import RunSpec

SPEC = RunSpec("bc", "toy-modes", (0,), {}, PROTOCOLS["toy"], "", "toy")


def plan_of(out, count):
    return [dataclasses.replace(SPEC, seeds=(seed,), out=str(out)) for seed in range(count)]


def write_status(spec, **values):
    path = spec.path
    path.mkdir(parents=True, exist_ok=True)
    asked = {"agent": spec.agent, "task": spec.task, "seeds": spec.seeds, "hyperparameters": {}, "protocol": {}}
    (path / "config.json").write_text(json.dumps(asked))
    (path / "status.json").write_text(json.dumps({"updated": "2026-01-01T00:00:00+00:00", **values}))


def text_of(out):
    console = Console(file=io.StringIO(), width=120)
    console.print(page(out, run_states(out)), soft_wrap=True)
    return console.file.getvalue()


def test_every_state_of_a_local_run_is_told(tmp_path):
    runs = plan_of(tmp_path, 6)
    launch = Launch.begin(tmp_path, runs, "local", {})
    later = {"updated": "2999-01-01T00:00:00+00:00"}
    write_status(runs[0], state="done", step=4000, diverged={"0": 300}, train_seconds=50.0)
    write_status(runs[1], state="running", step=1000, updates_per_second=100.0)
    write_status(runs[2], state="running", step=2000)
    write_status(runs[3], state="failed", error="ValueError: too bad\nTraceback ...", **later)
    write_status(runs[4], state="failed", error="of an earlier launch")
    with launch.lock, RunDirectory(runs[1].path):
        states = [run.state for run in run_states(tmp_path)]
        assert states == ["done", "running", "queued", "failed", "queued", "queued"]
        text = text_of(tmp_path)
        assert "6 runs; 3 queued, 1 running, 1 done, 1 failed; 1 with diverged seeds" in text
        assert "1,000 of 4,000" in text and "25%" in text and "0:00:30" in text
        assert "; about 0:03:00 left" in text  # 30 s of the one that runs, 50 s for each of the three in the queue
        assert f"failed: {runs[3].path}: ValueError: too bad\n" in text
        assert "diverged:" in text and "seed 0 at step 300" in text
    states = [run.state for run in run_states(tmp_path)]
    assert states == ["done", "stopped", "stopped", "failed", "failed", "planned"]
    assert f"stopped: 2 runs, the first {runs[1].path}: its process is gone" in text_of(tmp_path)
    assert show(tmp_path, Console(quiet=True)) == 1


def test_a_launch_from_the_first_process_of_a_container_is_followed_and_not_killed(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(os, "getpid", lambda: 1)
        launch = Launch.begin(tmp_path, plan_of(tmp_path, 1), "local", {})
    assert [run.state for run in run_states(tmp_path)] == ["planned"]
    monkeypatch.setattr(os, "kill", lambda *asked: pytest.fail("the first process of this machine"))
    with launch.lock, pytest.raises(UserError, match="the first process of a container"):
        cancel(tmp_path, Console(quiet=True))


def test_a_finished_run_that_more_updates_are_asked_of_is_not_done(tmp_path):
    short, longer = (dataclasses.replace(PROTOCOLS["toy"], steps=steps) for steps in (4000, 8000))
    before, after = (dataclasses.replace(SPEC, out=str(tmp_path), protocol=each) for each in (short, longer))
    write_status(before, state="done", step=4000, steps=4000)
    Launch.begin(tmp_path, [before], "local", {})
    assert [run.state for run in run_states(tmp_path)] == ["done"]
    launch = Launch.begin(tmp_path, [after], "local", {})
    with launch.lock:
        assert [run.state for run in run_states(tmp_path)] == ["queued"]
    assert [run.state for run in run_states(tmp_path)] == ["stopped"]


def test_the_steps_of_an_online_phase_count(tmp_path):
    (run,) = [dataclasses.replace(spec, online=Online(2000, 10)) for spec in plan_of(tmp_path, 1)]
    Launch.begin(tmp_path, [run], "local", {})
    write_status(run, state="running", step=5000, steps=6000, updates_per_second=100.0)
    with RunDirectory(run.path):
        text = text_of(tmp_path)
        assert "5,000 of 6,000" in text and "83%" in text and "0:00:10" in text
    write_status(run, state="done", step=6000, steps=6000)
    assert [each.state for each in run_states(tmp_path)] == ["done"]


def test_a_job_of_slurm_is_judged_by_the_queue_and_by_how_it_ended(tmp_path, monkeypatch):
    runs = plan_of(tmp_path, 7)
    launch = Launch.begin(tmp_path, runs, "slurm", {})
    launch.about["submitted"] = [1, 2, 3, 4, 5, 6]  # run 0 was done before
    launch.add_array(JobArray("7", first=0, count=4, size=2, folder="array-0"))
    launch.add_array(JobArray("8", first=4, count=2, size=2, folder="array-1"))
    monkeypatch.setattr(slurm, "queue", lambda: {"7_0": "RUNNING"})
    monkeypatch.setattr(slurm, "ended", lambda jobs: {"7_1": "OUT_OF_MEMORY", "8": "CANCELLED"})
    write_status(runs[0], state="done")
    write_status(runs[1], state="running", step=7)  # on another machine: its lock is not seen here
    write_status(runs[3], state="running", step=9)
    found = run_states(tmp_path)
    assert [r.state for r in found] == ["done", "running", "queued", "stopped", "failed", "planned", "planned"]
    assert found[3].reason == found[4].reason == "its job 7_1 ended as OUT_OF_MEMORY"
    text = text_of(tmp_path)
    assert "--retry-failed" in text


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    """Slurm's commands by name, to be written as shell scripts; asked without pauses."""
    tools = tmp_path / "tools"
    tools.mkdir()
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    monkeypatch.setattr(slurm, "SECONDS_BETWEEN_ATTEMPTS", 0)
    monkeypatch.setattr(slurm, "CANCEL_SECONDS", 0)
    monkeypatch.setattr("benchmark.launching.status.WATCH_SECONDS", 0)

    def write(**scripts):
        for name, script in scripts.items():
            (tools / name).write_text(f"#!/bin/sh\n{script}\n")
            (tools / name).chmod(0o755)

    return write


@pytest.fixture
def submitted(tmp_path):
    """Results of a run that is job 7 of Slurm's."""
    runs = plan_of(tmp_path / "out", 1)
    launch = Launch.begin(tmp_path / "out", runs, "slurm", {})
    launch.about["submitted"] = [0]
    launch.add_array(JobArray("7", 0, 1, 1, "array-0"))
    write_status(runs[0], state="running", step=7)
    return tmp_path / "out"


def test_a_slurm_that_does_not_answer_has_no_empty_queue(submitted, cluster):
    cluster(squeue="exit 1", sacct="exit 1", scancel="true")
    for ask in (run_states, show, lambda out, *rest: cancel(out, Console())):
        with pytest.raises(UserError, match=r"Slurm does not answer \(squeue fails\)"):
            ask(submitted, *([Console()] if ask is show else []))


def test_a_slurm_that_answers_when_asked_again_is_believed(submitted, cluster, tmp_path):
    cluster(squeue=f"test -e {tmp_path}/asked && echo '7|RUNNING' || {{ touch {tmp_path}/asked; exit 1; }}")
    assert [run.state for run in run_states(submitted)] == ["running"]


def test_who_watches_goes_on_where_slurm_does_not_answer_for_a_while(submitted, cluster, tmp_path, capsys):
    count = f"echo >> {tmp_path}/asked; n=$(wc -l < {tmp_path}/asked)"
    cluster(squeue=f"{count}; test $n = 1 && echo '7|RUNNING' && exit; test $n -gt 5", sacct="true")
    assert show(submitted, Console(), watch=True) == 1
    said = capsys.readouterr().out
    assert said.count("does not answer (squeue fails); what is shown was known before") == 1
    assert "its job 7 is gone" in said


def test_a_cancelling_that_slurm_does_not_take_or_do_is_said(submitted, cluster, capsys):
    cluster(squeue="echo '7|RUNNING'", scancel="exit 1")
    with pytest.raises(UserError, match=r"Slurm does not answer \(scancel fails\)"):
        cancel(submitted, Console())
    cluster(scancel="true")
    with pytest.raises(UserError, match="Slurm was asked to cancel 7, and has not ended them yet"):
        cancel(submitted, Console())
    assert "cancelled" not in capsys.readouterr().out


def test_an_array_that_stays_held_is_named_with_the_way_to_release_it(tmp_path, cluster):
    cluster(sbatch="echo Submitted batch job 7", srun="true", scontrol="exit 1")
    (run,) = plan_of(tmp_path / "out", 1)
    launch = Launch.begin(tmp_path / "out", [run], "slurm", {})
    launch.about["submitted"] = [0]
    job = slurm.RunsJob(1, 1, None, 120)
    with pytest.raises(UserError, match=r"array 7 is submitted, but held until `scontrol release 7` .*1 of 1 runs"):
        slurm.submit(launch, [run], SlurmOptions(), job, 1, slurm.Limits())
    assert [array.job for array in launch.arrays] == ["7"]


def test_a_later_launch_that_leaves_out_what_is_queued_does_not_hide_it(tmp_path, monkeypatch):
    runs = plan_of(tmp_path, 2)
    for number, submitted in (("7", [0]), ("8", [1])):
        launch = Launch.begin(tmp_path, runs, "slurm", {})
        launch.about["submitted"] = submitted
        launch.add_array(JobArray(number, 0, 1, 1, "array-0"))
    monkeypatch.setattr(slurm, "queue", lambda: {"7": "PENDING", "8": "PENDING"})
    assert [run.state for run in run_states(tmp_path)] == ["queued", "queued"]


def test_results_that_were_moved_are_found_again(tmp_path):
    runs = plan_of(tmp_path / "old", 1)
    Launch.begin(tmp_path / "old", runs, "local", {})
    write_status(runs[0], state="done")
    (tmp_path / "old").rename(tmp_path / "new")
    assert [run.state for run in run_states(tmp_path / "new")] == ["done"]


def test_where_nothing_was_launched_that_is_said(tmp_path):
    with pytest.raises(UserError, match="nothing was launched in"):
        run_states(tmp_path)


@pytest.mark.slow
def test_twelve_thousand_runs_are_read_in_five_seconds(tmp_path):
    tasks = [f"task{number}" for number in range(50)]
    runs = [
        dataclasses.replace(SPEC, agent=f"agent{a}", task=task, seeds=(seed,), out=str(tmp_path))
        for task in tasks
        for a in range(20)
        for seed in range(12)
    ]
    Launch.begin(tmp_path, runs, "local", {})
    for number, spec in enumerate(runs):
        if number % 2:
            write_status(spec, state=("done", "running", "failed")[number % 3], step=5, error="it fell\nover")
    started = time.perf_counter()
    text = text_of(tmp_path)
    assert time.perf_counter() - started < 5
    assert "12000 runs; 6000 planned, 2000 done, 2000 failed, 2000 stopped" in text
