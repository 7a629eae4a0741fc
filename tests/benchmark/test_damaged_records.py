"""Whatever happens to one run's records: launching, --status, --dry-run and the analysis say so, and others go on."""

import json
import os
import shutil
from pathlib import Path

import pytest
from rich.console import Console

import run_all
from analysis import comparable, load_runs
from benchmark.common.errors import UserError
from benchmark.common.reading import MOST_BYTES, Damaged, read_json
from benchmark.launching import dry_run, front_door
from benchmark.launching.ledger import Launch, read_launches
from benchmark.launching.local import LocalLauncher, Slot
from benchmark.launching.status import run_states, show
from benchmark.planning.protocols import PROTOCOLS
from benchmark.planning.run import Run
from benchmark.runs.record import RunDirectory
from benchmark.runs.run import RunSpec

QUIET = Console(quiet=True)
STATUS = {"state": "done", "step": 0, "steps": 0, "diverged": {}, "error": None, "updated": "2026-01-01T00:00:00+00:00"}
START = {"time": "2026-01-01T00:00:00+00:00", "commit": "a" * 40, "clean": True, "versions": {"jax": "0.10.2"}}
EVALUATIONS = "step,seed,episodes,success,return,length\n1,{seed},50,0.5,0,1\n"


def finished_runs(out, count=3):
    """Finished runs of one agent, a seed each, on the record of a launch."""
    runs = [RunSpec("bc", "toy-modes", (seed,), {}, PROTOCOLS["empty"], str(out), "toy") for seed in range(count)]
    for spec in runs:
        path = spec.path
        path.mkdir(parents=True)
        (path / "config.json").write_text(json.dumps(Run(spec).config))
        (path / "provenance.json").write_text(json.dumps({"starts": [START]}))
        (path / "status.json").write_text(json.dumps(STATUS))
        (path / "eval.csv").write_text(EVALUATIONS.format(seed=spec.seeds[0]))
    Launch.begin(out, runs, "local", {})
    return runs


def text(content):
    """Damage: other content."""
    return lambda path: path.write_bytes(content if isinstance(content, bytes) else content.encode())


def fields(**values):
    """Damage: other values of fields; `...` takes a field away."""

    def change(path):
        record = json.loads(path.read_text())
        record = {name: value for name, value in {**record, **values}.items() if value is not ...}
        path.write_text(json.dumps(record))

    return change


def start(**values):
    """Damage: other values of a start's fields."""
    return text(json.dumps({"starts": [START | values]}))


def instead(make):
    """Damage: something else in the file's place."""

    def change(path):
        path.unlink()
        make(path)

    return change


def sparse(path):
    with path.open("wb") as file:
        file.truncate(MOST_BYTES + 1)


ANY_FILE = {
    "empty": (text(""), "empty"),
    "blank": (text(" \n"), "empty"),
    "cut": (text('{"state": "do'), "not JSON"),
    "zeros": (text(bytes(300)), "not JSON"),
    "two records": (text("{}{}"), "not JSON"),
    "a list": (text("[]"), "not a JSON object"),
    "a number": (text("7"), "not a JSON object"),
    "null": (text("null"), "not a JSON object"),
    "not UTF-8": (text(b'{"state": "\xff\xfe"}'), "not UTF-8"),
    "UTF-16": (text('{"state": "done"}'.encode("utf-16")), "not UTF-8"),
    "half a letter": (text('{"error": "\\ud800"}'), "which is no text"),
    "deep": (text('{"a": ' * 100_000 + "1" + "}" * 100_000), "nested deeper"),
    "rather deep": (text('{"a": ' + "[" * 20 + "]" * 20 + "}"), "nested deeper"),
    "NaN": (text('{"step": NaN}'), "nan, which is no number"),
    "infinity": (text('{"step": -Infinity}'), "inf, which is no number"),
    "beyond floats": (text('{"step": 1e999}'), "inf, which is no number"),
    "beyond 64 bits": (text('{"step": ' + "9" * 30 + "}"), "more than 64 bits"),
    "ten thousand digits": (text('{"step": ' + "9" * 10_000 + "}"), "not JSON"),
    "endless": (sparse, "longer than"),
    "a directory": (instead(Path.mkdir), "Is a directory"),
    "a loop": (instead(lambda path: path.symlink_to(path.name)), "symbolic links"),
    "a pipe": (instead(os.mkfifo), "not a file"),
    "a device": (instead(lambda path: path.symlink_to("/dev/zero")), "not a file"),
    "cannot be read": (instead(lambda path: path.symlink_to("/proc/self/mem")), "Input/output error"),
    "below a file": (instead(lambda path: path.symlink_to("eval.csv/x")), "Not a directory"),
}
STATUS_ONLY = {
    "state is a list": (fields(state=["done"]), "state is ['done'], not a text"),
    "state is no state": (fields(state="dnoe"), "not one of running, done"),
    "state is null": (fields(state=None), "state is None, not a text"),
    "step is a text": (fields(step="12"), "step is '12', not a whole number"),
    "step is true": (fields(step=True), "step is True, not a whole number"),
    "step is huge": (fields(step=2**62), "outside"),
    "step is beyond the end": (fields(step=5, steps=4), "beyond the 4 of the run"),
    "diverged is a list": (fields(diverged=[0]), "diverged is [0], not an object"),
    "diverged names no seed": (fields(diverged={"x": 5}), "not steps of seeds"),
    "diverged at no step": (fields(diverged={"0": "soon"}), "not steps of seeds"),
    "rate is negative": (fields(updates_per_second=-1), "outside"),
    "seconds are an object": (fields(train_seconds={}), "not a number"),
    "error is a number": (fields(error=5), "error is 5, not a text"),
    "updated is a number": (fields(updated=5), "updated is 5, not a text"),
}
CONFIG_ONLY = {
    "gone": (Path.unlink, "missing, though the run is done"),
    "nothing in it": (text("{}"), "no field 'agent'"),
    "of another agent": (fields(agent="fql"), "agent is fql, not bc"),
    "agent is a number": (fields(agent=5), "agent is 5, not a text"),
    "agent is no name": (fields(agent="b\nc"), "not a name"),
    "task is empty": (fields(task=""), "not a name"),
    "seeds are a number": (fields(seeds=5), "seeds is 5, not a list"),
    "seeds are words": (fields(seeds=["one"]), "not whole numbers"),
    "no seeds": (fields(seeds=[]), "not whole numbers"),
    "seeds are huge": (fields(seeds=[2**40]), "not whole numbers"),
    "no protocol": (fields(protocol=...), "no field 'protocol'"),
    "protocol is a list": (fields(protocol=[1]), "protocol is [1], not an object"),
    "steps are words": (fields(protocol={"steps": "many"}), "steps is 'many', not a whole number"),
    "hyperparameters are null": (fields(hyperparameters=None), "hyperparameters is None, not an object"),
    "endless evaluations": (fields(protocol={"steps": 10**12, "eval_every": 1}), "eval_every is 1, too often"),
    "suite is a list": (fields(suite=[]), "suite is [], not a text"),
}
PROVENANCE_ONLY = {
    "no starts": (text("{}"), "no list of starts"),
    "starts are an object": (text('{"starts": {}}'), "no list of starts"),
    "a start is a text": (text('{"starts": ["a"]}'), "no list of starts"),
    "versions are a list": (start(versions=["jax"]), "versions is ['jax'], not an object"),
    "a version is a number": (start(versions={"jax": 0.1}), "version of jax is 0.1, not a text"),
    "dataset is a text": (start(dataset="here"), "dataset is 'here', not an object"),
    "transitions are a text": (start(dataset={"transitions": "1"}), "not a whole number"),
    "scores are three": (start(dataset={"reference_scores": [1, 2, 3]}), "not two numbers"),
    "time is a number": (start(time=5), "time is 5, not a text"),
}
DAMAGE = [
    (name, kind, *how)
    for names, kinds in (
        (("config.json", "provenance.json", "status.json"), ANY_FILE),
        (("status.json",), STATUS_ONLY),
        (("config.json",), CONFIG_ONLY),
        (("provenance.json",), PROVENANCE_ONLY),
    )
    for name in names
    for kind, how in kinds.items()
]
assert len(ANY_FILE) + len(STATUS_ONLY) + len(CONFIG_ONLY) + len(PROVENANCE_ONLY) >= 41


@pytest.fixture(scope="module")
def untouched(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "out"
    finished_runs(out)
    return out


@pytest.mark.parametrize("name, kind, damage, reason", DAMAGE, ids=[f"{d[0]}: {d[1]}" for d in DAMAGE])
def test_damage_to_one_run_is_said_of_it_everywhere_and_touches_no_other(
    tmp_path, untouched, monkeypatch, capsys, name, kind, damage, reason
):
    out = tmp_path / "out"
    shutil.copytree(untouched, out)
    runs = [RunSpec("bc", "toy-modes", (seed,), {}, PROTOCOLS["empty"], str(out), "toy") for seed in range(3)]
    broken = runs[1].path
    damage(broken / name)
    monkeypatch.setattr(front_door, "console", Console(width=400, highlight=False))
    monkeypatch.setattr(front_door, "report", lambda out, runs: None)  # what it reads is looked at below

    shown = [(run.state, run.reason) for run in run_states(out)]
    where = [state for state, _ in shown]
    if kind != "of another agent":  # a folder of results may have been moved, so that is for the plan to know
        assert where == ["done", "damaged", "done"]
        assert shown[1][1].startswith(name) and reason in shown[1][1]
        assert show(out, QUIET) == 1

    dry_run.print_plan(runs, estimate=False)
    planned = capsys.readouterr().out
    assert "2 done, 0 to do; 1 damaged" in planned
    line = next(line for line in planned.splitlines() if line.startswith("damaged: "))
    assert line.startswith(f"damaged: {broken}: {name}: ") and reason in line

    assert front_door.launch(out, runs, front_door.How(jobs=1)) == 1
    launched = capsys.readouterr().out
    assert f"failed: {broken}: {name}: " in launched and reason in launched.splitlines()[-1]
    assert "2 of 3 runs are finished already" in launched and "Traceback" not in launched

    loaded = load_runs(out)
    selection = comparable(loaded)
    assert {0, 2} <= set(selection.evaluations["seed"])
    if kind != "of another agent":
        state = loaded.runs.set_index("run").loc[str(broken)]
        assert state["state"] == "unreadable" and name in state["error"] and reason in state["error"]
        assert set(selection.evaluations["seed"]) == {0, 2}
        assert any("not readable: 1" in note and str(broken) in note for note in selection.notes)


# ------------------------------------------------------------------------------------------------ around the runs


def test_a_damaged_run_is_left_out_of_the_whole_report_by_name(tmp_path, capsys, monkeypatch):
    runs = finished_runs(tmp_path / "out")
    path = runs[1].path
    fields(diverged={"1": "soon"})(path / "status.json")
    monkeypatch.setattr(front_door, "console", Console(width=400, highlight=False))
    front_door.report(tmp_path / "out")
    assert f"not readable: 1 ({path}: status.json: diverged is" in capsys.readouterr().out
    assert "diverged is {" in (tmp_path / "out" / "report" / "report.html").read_text()


def test_a_run_with_damaged_records_that_is_to_be_done_fails_and_keeps_them(tmp_path):
    runs = [RunSpec("bc", "toy-modes", (seed,), {}, PROTOCOLS["empty"], str(tmp_path), "toy") for seed in range(3)]
    for seed, name in ((0, "status.json"), (1, "provenance.json")):
        runs[seed].path.mkdir(parents=True)
        (runs[seed].path / name).write_text("{")
    launcher = LocalLauncher(runs, QUIET, [Slot(0, {})], runs_per_process=3)
    reasons = [outcome.reason for outcome in launcher.run()]
    assert reasons[0].startswith("status.json: not JSON") and "provenance.json: not JSON" in reasons[1]
    assert reasons[2] == "" and RunDirectory(runs[2].path).status["state"] == "done"
    assert (runs[0].path / "status.json").read_text() == "{"
    assert (runs[1].path / "provenance.json").read_text() == "{"
    assert RunDirectory(runs[1].path).status["error"] == reasons[1]


def test_what_was_mended_is_read_again(tmp_path):
    spec = finished_runs(tmp_path, 1)[0]
    path = spec.path / "status.json"
    good, at = path.read_text(), path.stat()
    path.write_text("x" * len(good))
    os.utime(path, ns=(at.st_atime_ns, at.st_mtime_ns))
    assert load_runs(tmp_path).runs["state"].tolist() == ["unreadable"]
    path.write_text(good)
    os.utime(path, ns=(at.st_atime_ns, at.st_mtime_ns))
    assert load_runs(tmp_path).runs["state"].tolist() == ["done"]


def test_a_run_that_failed_before_it_had_a_record_is_named_with_its_reason(tmp_path):
    path = finished_runs(tmp_path, 1)[0].path
    shutil.rmtree(path)
    path.mkdir()
    RunDirectory(path).record_end("failed", "no data")
    assert load_runs(tmp_path).runs["error"].tolist() == ["config.json: missing; the run failed: no data"]
    assert [run.state for run in run_states(tmp_path)] == ["failed"]


LAUNCH = {
    "empty": text(""),
    "a list": text("[]"),
    "nothing in it": text("{}"),
    "time is a number": fields(time=5),
    "no process": fields(process=-1),
    "process is a text": fields(process="1"),
    "submitted is a number": fields(submitted=5),
    "submitted are words": fields(submitted=["a"]),
    "an array is a text": fields(arrays=["a"]),
    "an array without a job": fields(arrays=[{"first": 0}]),
    "an array of runs that are none": fields(arrays=[dict(job="1", first=0, count=9, size=1, folder="a")]),
    "an array of no number": fields(arrays=[dict(job="-u root", first=0, count=0, size=1, folder="a")]),
    "a directory": instead(Path.mkdir),
}


@pytest.mark.parametrize("kind", LAUNCH)
def test_a_damaged_record_of_a_launch_is_named_and_other_launches_are_shown(tmp_path, kind, capsys):
    finished_runs(tmp_path)
    other = Launch.begin(tmp_path, [RunSpec("bc", "toy-modes", (9,), {}, PROTOCOLS["empty"], "")], "local", {})
    LAUNCH[kind](other.folder / "launch.json")
    assert run_all.main(["--status", f"--out={tmp_path}"]) == 1
    shown = capsys.readouterr().out
    assert "3 runs; 3 done" in shown and f"damaged, and left out: {other.folder / 'launch.json'}: " in shown
    assert run_all.main(["--cancel", f"--out={tmp_path}"]) == 0


LINES = {
    "empty": "",
    "no JSON": "{",
    "a list": "[]",
    "no field": "{}",
    "another field": {"more": 1},
    "seeds are a number": {"seeds": 5},
    "seeds are words": {"seeds": ["a"]},
    "no seeds": {"seeds": []},
    "no protocol": {"protocol": None},
    "a protocol of words": {"protocol": dict.fromkeys(vars(PROTOCOLS["toy"]), "many")},
    "a protocol of other fields": {"protocol": {"length": 5}},
    "task is a number": {"task": 5},
    "task is above": {"task": ".."},
    "task is elsewhere": {"task": "/tmp"},
    "agent is a list": {"agent": ["bc"]},
    "name is a path": {"name": "../../bc"},
    "settings are a text": {"settings": "alpha"},
    "deep": {"settings": json.loads("[" * 50 + "]" * 50)},
}


@pytest.mark.parametrize("kind", LINES)
def test_a_damaged_line_of_a_launch_is_named_and_its_other_runs_are_shown(tmp_path, kind, capsys):
    finished_runs(tmp_path)
    path = read_launches(tmp_path)[0].folder / "runs.jsonl"
    lines, line = path.read_text().splitlines(), LINES[kind]
    lines[1] = line if isinstance(line, str) else json.dumps(json.loads(lines[1]) | line)
    path.write_text("\n".join(lines) + "\n")
    for option, says in (("--status", "2 runs; 2 done"), ("--retry-failed", "no run failed")):
        assert run_all.main([option, f"--out={tmp_path}"]) == 1
        shown = capsys.readouterr().out
        assert says in shown and f"damaged, and left out: line 2 of {path}: " in shown


def test_where_no_launch_can_be_read_that_is_said_in_a_line(tmp_path):
    finished_runs(tmp_path)
    (read_launches(tmp_path)[0].folder / "runs.jsonl").unlink()
    with pytest.raises(UserError, match=r"no launch in .* can be read: .*runs.jsonl: missing"):
        run_all.main(["--status", f"--out={tmp_path}"])


@pytest.mark.parametrize("options", [{}, {"cluster": []}, {"cluster": {"x": 1}}, {"cluster": {}, "jobs": "two"}])
def test_options_of_a_launch_that_are_damaged_are_named_when_it_is_to_be_given_again(tmp_path, options):
    spec = finished_runs(tmp_path, 1)[0]
    (spec.path / "status.json").write_text(json.dumps(STATUS | {"state": "failed"}))
    fields(options=options)(read_launches(tmp_path)[0].folder / "launch.json")
    with pytest.raises(UserError, match="the last launch's options are damaged"):
        run_all.main(["--retry-failed", f"--out={tmp_path}"])


def test_a_file_that_is_no_run_record_is_read_as_carefully(tmp_path):
    assert read_json(tmp_path / "none.json", {"rows": []}) == {"rows": []}
    for kind, (damage, reason) in ANY_FILE.items():
        path = tmp_path / kind / "rates.json"
        path.parent.mkdir()
        path.touch()
        (path.parent / "eval.csv").touch()
        damage(path)
        with pytest.raises(Damaged) as error:
            read_json(path)
        assert str(error.value).startswith(f"{path}: ") and reason in str(error.value)
