"""Reading results runs nothing of theirs; a full disk and a kill hide nothing and leave nothing behind."""

import dataclasses
import os
import shlex
import signal
import subprocess
import sys

import pytest
from rich.console import Console

import run_all
from analysis import load_runs
from benchmark.common.errors import UserError
from benchmark.common.reading import read_json
from benchmark.launching import front_door, slurm
from benchmark.launching.ledger import JobArray, Launch
from benchmark.launching.local import run_locally
from benchmark.launching.slurm import RunsJob
from benchmark.launching.slurm_options import SlurmOptions, read_options
from benchmark.launching.status import run_states
from benchmark.planning import suites
from benchmark.planning.protocols import PROTOCOLS
from benchmark.planning.run import Run
from benchmark.runs.provenance import COMMAND, command_line
from benchmark.runs.record import RunDirectory
from benchmark.runs.run import RunSpec
from benchmark.train import parse
from tests.benchmark.test_launch import children, wait_until
from tests.helpers.disk import fill

QUIET = Console(quiet=True)
AGENT_FILE = '''"""Leaves a mark wherever it is imported."""
from pathlib import Path
from agents.bc import BC

class Marked(BC):
    """Cloning, under a name that is not its file's."""
    name = "marked"

Path({mark!r}).touch()
'''
ASKED = ["--suite=toy", "--tasks=toy-modes", "--seeds=0", "--protocol=empty"]


def spec_of(out, agent="bc", seed=0):
    return RunSpec(agent, "toy-modes", (seed,), {}, PROTOCOLS["empty"], str(out), "toy")


def begin(spec, state, **config):
    """Put a run on record, in a state."""
    with RunDirectory(spec.path) as directory:
        directory.check_config(Run(dataclasses.replace(spec, agent="bc", name="")).config | config)
        directory.set_status(state=state, step=0, steps=0, diverged={}, error=None)


# ---------------------------------------------------------------------------------------- nothing of results is run


@pytest.fixture
def outside(tmp_path):
    """(file of an agent, the mark that it leaves, a folder with a finished run of it and one of bc)."""
    file, mark, out = tmp_path / "my_file.py", tmp_path / "mark", tmp_path / "out"
    file.write_text(AGENT_FILE.format(mark=str(mark)))
    runs = [dataclasses.replace(spec_of(out, str(file)), name="marked"), spec_of(out)]
    for spec in runs:
        begin(spec, "done", agent=spec.name or "bc")
    front_door.begin(out, runs, front_door.How())
    return file, mark, out


def test_who_reads_results_imports_no_agent_of_theirs(outside, capsys):
    file, mark, out = outside
    assert [run.path for run in run_states(out)] == [out / name / "toy-modes/seeds-0" for name in ("marked", "bc")]
    for moved in (False, True):
        if moved:
            file.rename(file.with_name("elsewhere.py"))
        assert [run.state for run in run_states(out)] == ["done", "done"]
        assert run_all.main(["--status", f"--out={out}"]) == run_all.main(["--retry-failed", f"--out={out}"]) == 0
        shown = capsys.readouterr().out
        assert "2 runs; 2 done" in shown and "no run failed" in shown
        assert load_runs(out).runs["state"].tolist() == ["done", "done"] and not mark.exists()


def test_a_run_whose_agents_file_has_moved_fails_alone_when_it_is_to_be_done_again(outside, capsys):
    file, mark, out = outside
    for name in ("marked", "bc"):
        RunDirectory(out / name / "toy-modes/seeds-0").set_status(state="failed", error="of old")
    file.rename(file.with_name("elsewhere.py"))
    assert run_all.main(["--retry-failed", f"--out={out}"]) == 1
    lines = capsys.readouterr().out.strip().splitlines()
    assert lines[-1].startswith(f"failed: {out}/marked/toy-modes/seeds-0: no agent file at {file}")
    assert sum("no agent file" in line for line in lines) == 1
    assert [run.state for run in run_states(out)] == ["failed", "done"]
    assert not mark.exists()


def test_the_plan_finds_the_name_of_an_agents_file(tmp_path):
    file = tmp_path / "my_file.py"
    file.write_text(AGENT_FILE.format(mark=str(tmp_path / "mark")))
    asked = run_all.parser().parse_args([*ASKED, f"--agents={file}"])
    (run,) = front_door.runs_asked_for(asked, suites.get_suite("toy"), tmp_path)
    single = parse([f"--agent={file}", "--task=toy-modes", f"--out={tmp_path}"])
    for spec in (run, RunSpec.from_json(run.to_json()), single):
        assert spec.path == tmp_path / "marked/toy-modes/seeds-0"


def test_an_agent_that_has_taken_another_name_since_it_was_planned_fails_with_both(outside, capsys):
    file, _, out = outside
    RunDirectory(out / "marked/toy-modes/seeds-0").set_status(state="failed", error="of old")
    file.write_text(file.read_text().replace('"marked"', '"renamed"'))
    assert run_all.main(["--retry-failed", f"--out={out}"]) == 1
    assert "defines agent 'renamed', and not 'marked' as was planned" in capsys.readouterr().out
    assert not (out / "renamed").exists()


# ------------------------------------------------------------------------------------------------------ a full disk


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_full_disk_hides_neither_how_a_run_ended_nor_why(small_disk, jobs):
    out = small_disk / "out"
    runs = [spec_of(out, seed=seed) for seed in range(2)]
    for spec in runs:
        begin(spec, "running")  # as one that was killed leaves it
    logs = small_disk / "logs"
    logs.mkdir()
    fill(small_disk)
    outcomes = run_locally(runs, QUIET, jobs=jobs, logs=logs)
    for outcome in outcomes:
        assert "No space left on device" in outcome.reason and str(outcome.path) in outcome.reason
        status = RunDirectory(outcome.path).status
        assert status["state"] == "failed" and status["error"] == outcome.reason


def test_where_no_report_can_be_written_the_reasons_are_still_told(tmp_path, monkeypatch, capsys):
    def report(out, runs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("benchmark.launching.front_door.report", report)
    monkeypatch.setattr("benchmark.launching.front_door.prepare", lambda runs: {runs[0].path: "no data: none anywhere"})
    assert run_all.main([*ASKED, "--agents=bc", f"--out={tmp_path}"]) == 1
    shown = capsys.readouterr().out
    assert "no report: [Errno 28] No space left" in shown
    assert f"failed: {tmp_path}/bc/toy-modes/seeds-0: no data: none anywhere" in shown


# ------------------------------------------------------------------------- the command, and what a kill leaves behind


def test_the_record_of_a_run_has_the_command_that_a_person_gave(tmp_path):
    command = [sys.executable, "run_all.py", *ASKED, "--agents=bc", "--jobs=2", f"--out={tmp_path}"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    start = read_json(tmp_path / "bc/toy-modes/seeds-0/provenance.json")["starts"][0]
    assert shlex.split(start["command"])[1:] == command[1:]


def test_a_job_of_a_cluster_hands_down_the_command_that_submitted_it(tmp_path, monkeypatch):
    monkeypatch.setenv(COMMAND, "python run_all.py --launcher=slurm")
    job = RunsJob(1, 1, None, 120)
    monkeypatch.delenv(COMMAND)
    assert command_line() != "python run_all.py --launcher=slurm"
    assert job([spec_of(tmp_path).to_json()]) == []
    start = read_json(spec_of(tmp_path).path / "provenance.json")["starts"][0]
    assert start["command"] == "python run_all.py --launcher=slurm"


def test_a_launcher_that_is_killed_leaves_no_temporary_folder(tmp_path):
    file, temporary = tmp_path / "hangs.py", tmp_path / "temporary"
    temporary.mkdir()
    text = AGENT_FILE.format(mark=str(tmp_path / "mark"))
    file.write_text(text + "import sys, time\nif '--specs' in sys.argv:\n    time.sleep(600)\n")
    command = [sys.executable, "run_all.py", *ASKED, f"--agents={file}", f"--out={tmp_path / 'out'}"]
    process = subprocess.Popen(command, env={**os.environ, "TMPDIR": str(temporary)}, stdout=subprocess.DEVNULL)
    wait_until(lambda: children(process.pid))
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert list(temporary.iterdir()) == []


def test_many_runs_reach_the_process_that_is_to_do_them(tmp_path):
    """More of them than a pipe holds at once."""
    settings = {"note": "x" * 2000}
    runs = [dataclasses.replace(spec_of(tmp_path, seed=seed), settings=settings) for seed in range(60)]
    outcomes = run_locally(runs, QUIET, runs_per_process=60, jobs=1)
    assert len(outcomes) == 60 and all("no hyperparameter 'note'" in outcome.reason for outcome in outcomes)


# ----------------------------------------------------------------------------------------------------- Slurm's script


def test_nothing_of_a_path_is_run_by_the_jobs_script(tmp_path, monkeypatch):
    """The script, as submitit writes it, run by a shell."""
    strange = tmp_path / "a $(touch ran) `touch ran` \"b\" 'c' $HOME; touch ran #"
    strange.mkdir()
    tools = tmp_path / "tools"
    tools.mkdir()
    submits = f'cp "$1" {tmp_path}/script; echo Submitted batch job 7'
    for name, does in (("sbatch", submits), ("srun", "true"), ("scontrol", "true")):
        (tools / name).write_text(f"#!/bin/sh\n{does}\n")
        (tools / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    monkeypatch.setattr(slurm, "ROOT", strange)
    runs = [spec_of(strange / "out")]
    launch = Launch.begin(strange / "out", runs, "slurm", {})
    launch.about["submitted"] = [0]
    options = SlurmOptions(constraint="a100$(touch ran)", setup=('printf %s "$PYTHONPATH" > seen',))
    slurm.submit(launch, runs, options, RunsJob(1, 1, None, 120), 1, slurm.Limits())
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    subprocess.run(["bash", "script"], cwd=tmp_path, check=True, env=environment)
    assert not (tmp_path / "ran").exists()
    assert (tmp_path / "seen").read_text() == str(strange)


@pytest.mark.parametrize("name", ["partition", "account", "qos", "constraint", "memory", "time", "cpus", "setup"])
@pytest.mark.parametrize("sign", ["\n", "\r", "\0", "\x1b", "\x85", "\u2028", "\x7f"])
def test_a_control_character_in_an_option_of_slurm_is_refused(name, sign):
    value = f"4{sign}#SBATCH --wrap=true"
    if name == "setup" and sign == "\n":
        assert read_options(None, {name: [value]}).setup == ("4", "#SBATCH --wrap=true")  # two lines, as a shell has it
        return
    with pytest.raises(UserError, match=f"Slurm option {name} ") as error:
        read_options(None, {name: [value] if name == "setup" else value})
    assert str(error.value).isprintable()


def test_a_control_character_in_the_folder_of_results_is_refused_for_slurm(tmp_path):
    with pytest.raises(UserError, match="control characters in a path"):
        slurm.check_cluster(SlurmOptions(), tmp_path / "a\nrm -rf b")


def test_a_run_in_the_queue_is_not_taken_for_one_with_other_settings(tmp_path, monkeypatch):
    asked = {alpha: dataclasses.replace(spec_of(tmp_path, "rql"), settings={"alpha": alpha}) for alpha in (1.0, 3.0)}
    launch = Launch.begin(tmp_path, [asked[1.0]], "slurm", {})
    launch.about["submitted"] = [0]
    launch.add_array(JobArray("7", 0, 1, 1, "array-0"))
    monkeypatch.setattr(slurm, "queue", lambda: {"7": "PENDING"})
    monkeypatch.setattr(slurm, "submit", lambda *_, **__: pytest.fail("submitted"))
    front_door.submit(tmp_path, [asked[1.0]], [asked[1.0]], front_door.How("slurm"))
    with pytest.raises(UserError, match=r"alpha: 1\.0, not 3\.0\); --cancel it before"):
        front_door.submit(tmp_path, [asked[3.0]], [asked[3.0]], front_door.How("slurm"))


@pytest.mark.parametrize("follow", ["--status", "--cancel", "--watch"])
@pytest.mark.parametrize("option", ["--dry-run", "--agents=bc", "--set=alpha=3", "--seeds=0"])
def test_what_follows_a_folder_takes_no_option_that_it_would_pass_over(tmp_path, monkeypatch, follow, option):
    for name in ("show", "cancel"):
        monkeypatch.setattr(f"benchmark.launching.status.{name}", lambda *_: pytest.fail("done all the same"))
    with pytest.raises(UserError, match=f"^{option.split('=')[0]} does not go with --status, --watch or --cancel"):
        run_all.main([follow, option, f"--out={tmp_path}"])


def test_runs_of_a_cancelled_job_that_had_not_begun_are_told_where_failed_ones_are_launched_again(
    tmp_path, monkeypatch, capsys
):
    launch = Launch.begin(tmp_path, [spec_of(tmp_path)], "slurm", {})
    launch.about["submitted"] = [0]
    launch.add_array(JobArray("7", 0, 1, 1, "array-0"))
    monkeypatch.setattr(slurm, "queue", dict)
    monkeypatch.setattr(slurm, "ended", lambda jobs: {"7": "CANCELLED"})
    assert run_all.main(["--retry-failed", f"--out={tmp_path}"]) == 0
    assert (
        "1 runs are in no queue and not begun; the suite's command, given again, does them" in capsys.readouterr().out
    )
