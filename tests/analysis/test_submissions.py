"""Submissions: what is sent of runs, and what a check of it refuses."""

import dataclasses
import hashlib
import json
import os
import re
import shutil
from pathlib import Path

import pytest

from analysis import load_runs
from analysis import submit as submit_command
from analysis import verify as verify_command
from analysis.names import TASKS
from analysis.submissions.checking import verify
from analysis.submissions.layout import CARD, INDEX, SCHEMA, without_places
from analysis.submissions.making import submit
from benchmark.common.errors import UserError
from benchmark.loop.worker import execute
from benchmark.planning.protocols import PROTOCOLS
from benchmark.runs.run import RunSpec
from tests.helpers.simulated_runs import write_run

RUN = f"rql/{TASKS[0]}/seeds-0-1"


@pytest.fixture
def runs(tmp_path):
    folder = tmp_path / "runs"
    for agent in ("rql", "fql"):
        run = write_run(folder, agent, start={"dataset": {"name": "data", "path": "/home/me/data.npz"}})
        (run / "log.txt").write_text("training on /home/me\n")
        (run / "checkpoints").mkdir()
        (run / "checkpoints" / "state").write_bytes(b"\0" * 100)
    return folder


@pytest.fixture
def sent(runs, tmp_path):
    submit([runs], tmp_path / "sent")
    return tmp_path / "sent"


def edit(folder, name, change):
    """Change a file, and its entry in the index as someone would who wants it to pass."""
    path = folder / name
    content = change(path.read_bytes())
    path.write_bytes(content)
    index = json.loads((folder / INDEX).read_text())
    index["files"][name] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    (folder / INDEX).write_text(json.dumps(index))


def test_what_is_sent_is_whole_and_consistent(sent):
    verdict = verify(sent)
    assert verdict.faults == []
    assert len(verdict.runs) == 2


def test_neither_logs_nor_checkpoints_nor_places_on_the_machine_are_sent(sent):
    names = {path.name for path in sent.rglob("*") if path.is_file()}
    assert names == {INDEX, CARD, "config.json", "provenance.json", "status.json", "eval.csv"}
    everything = b"".join(path.read_bytes() for path in sent.rglob("*") if path.is_file())
    assert b"/home/me" not in everything and b'"host"' not in everything


@pytest.mark.parametrize(
    "command, sent_as",
    [
        ("python run_all.py --out=/home/me/my runs/a", "python run_all.py --out=my runs/a"),
        ("python run_all.py '--out=/home/me/my runs/a' -x", "python run_all.py --out=a -x"),
        ("/usr/bin/python -m benchmark.train --agent /home/me/awr.py", "python -m benchmark.train --agent awr.py"),
        ("python run_all.py --agents=/home/me/a.py,rql,~/b.py", "python run_all.py --agents=a.py,rql,b.py"),
        (
            "python run_all.py --set rql:alpha=3 --data-dir=../data",
            "python run_all.py --set rql:alpha=3 --data-dir=../data",
        ),
        ("python 'unfinished /home/me", "python ''\"'\"'unfinished' me"),
    ],
)
def test_a_command_is_sent_without_the_folders_of_absolute_paths(command, sent_as):
    assert without_places({"command": command}) == {"command": sent_as}


def test_where_a_job_ran_and_what_it_started_from_is_not_sent_and_is_remarked_on_where_it_is(runs, tmp_path):
    start = {"folder": "/home/me/clones/bc", "digest": "sha256:1"}
    further = {"allocation": {"SLURMD_NODENAME": "gpu17"}, "start": start, "command": "train --out=/home/me/x"}
    run = write_run(runs, "ifql", start=further)
    submit([runs], tmp_path / "sent")
    everything = b"".join(path.read_bytes() for path in (tmp_path / "sent").rglob("*.json"))
    assert b"gpu17" not in everything and b"/home" not in everything and b"sha256:1" in everything
    name = f"ifql/{TASKS[0]}/seeds-0-1/provenance.json"
    assert not any("names places" in remark for remark in verify(tmp_path / "sent").remarks)
    edit(tmp_path / "sent", name, lambda content: (run / "provenance.json").read_bytes())
    verdict = verify(tmp_path / "sent")
    assert verdict.faults == [] and any("ifql" in r and "names places" in r for r in verdict.remarks)


def extend(run, *before):
    """Have a run's record say that it was finished with so many updates before."""
    config = json.loads((run / "config.json").read_text())
    config["extended"] = [{"from": steps, "time": "2026-01-01T00:00:00+00:00"} for steps in before]
    (run / "config.json").write_text(json.dumps(config))


def test_an_evaluation_where_a_run_had_ended_before_is_its_own(runs, tmp_path):
    run = write_run(runs, "rql")
    rows = (run / "eval.csv").read_text().replace("\n1000,0,", "\n700,0,50,0.5,-99.5,193\n1000,0,")
    (run / "eval.csv").write_text(rows)
    for before, fault in ((), True), ((700,), False), ((600,), True):
        extend(run, *before)
        submit([runs], tmp_path / f"sent{before}")
        faults = verify(tmp_path / f"sent{before}").faults
        assert any("evaluated at step 700" in said for said in faults) == fault and len(faults) == fault


def test_runs_that_would_have_one_place_are_refused_with_both_names(tmp_path):
    one = write_run(tmp_path / "runs/a", "rql", hyperparameters={"alpha": 1.0}, success=0.2)
    two = write_run(tmp_path / "runs/b", "rql", hyperparameters={"alpha": 30.0}, success=0.9)
    with pytest.raises(UserError, match=f"{two} and {one} would be one run"):
        submit([tmp_path / "runs"], tmp_path / "sent")
    assert not (tmp_path / "sent").exists()
    submit([tmp_path / "runs/a"], tmp_path / "sent")
    with pytest.raises(UserError, match=r"another experiment than .*alpha: 1.0, not 30.0"):
        submit([tmp_path / "runs/b"], tmp_path / "sent")
    assert verify(tmp_path / "sent").faults == []
    assert json.loads((tmp_path / "sent" / RUN / "config.json").read_text())["hyperparameters"] == {"alpha": 1.0}


def test_a_run_with_more_updates_takes_the_place_of_itself(tmp_path):
    run = write_run(tmp_path / "runs", "rql")
    (run / "train.csv").write_text("step,seed,loss\n500,0,1\n")
    submit([tmp_path / "runs"], tmp_path / "sent")
    extend(write_run(tmp_path / "runs", "rql", steps=2000), 1000)
    (run / "train.csv").unlink()
    submit([tmp_path / "runs"], tmp_path / "sent")
    verdict = verify(tmp_path / "sent")
    assert verdict.faults == [] and list(verdict.runs.runs["steps"]) == [2000]
    assert not (tmp_path / "sent" / RUN / "train.csv").exists()


def test_reading_what_is_sent_leaves_nothing_beside_it(sent):
    before = sorted(sent.rglob("*"))
    assert len(load_runs(sent).runs) == 2
    assert sorted(sent.rglob("*")) == before and verify(sent).faults == []


def test_reading_a_part_of_what_is_sent_leaves_nothing_in_it_either(sent, monkeypatch):
    before = sorted(sent.rglob("*"))
    monkeypatch.chdir(sent)
    assert [len(load_runs(part).runs) for part in (Path("rql"), *sent.glob("rql/*"))] == [1, 1]
    assert sorted(sent.rglob("*")) == before and verify(sent).faults == []


def test_the_command_tells_what_it_took_from_what_is_there(runs, sent, tmp_path, capsys):
    write_run(tmp_path / "later", "ifql")
    submit_command.main(["--runs", str(tmp_path / "later"), "--out", str(sent)])
    assert "1 run taken in, 3 there" in capsys.readouterr().out


def test_runs_that_are_not_finished_are_left_out_and_named(runs, tmp_path):
    write_run(runs, "ifql", state="running", step=500)
    taken, left = submit([runs], tmp_path / "sent")
    assert len(taken) == 2
    assert len(left) == 1 and "running, at step 500 of 1000" in left[0]


def test_a_submission_grows_by_runs_that_were_finished_later(runs, sent):
    write_run(runs, "ifql")
    submit([runs], sent)
    verdict = verify(sent)
    assert verdict.faults == [] and len(verdict.runs) == 3


def test_other_files_are_never_written_among(runs, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("")
    with pytest.raises(UserError, match="something else than a submission"):
        submit([runs], tmp_path / "mine")


def test_nothing_to_send_is_an_error_that_says_why(tmp_path):
    write_run(tmp_path / "runs", "rql", state="failed", step=500, error="out of memory")
    with pytest.raises(UserError, match=r"no finished run to send.*failed"):
        submit([tmp_path / "runs"], tmp_path / "sent")


def a_row_removed(content):
    return b"\n".join(content.split(b"\n")[:-2]) + b"\n"


FORGED = {
    "a success above 1": ("eval.csv", lambda c: c.replace(b",0.5,", b",1.5,"), "success"),
    "a success that is no number": ("eval.csv", lambda c: c.replace(b",0.5,", b",nan,"), "no number"),
    "an evaluation left out": ("eval.csv", a_row_removed, "1 of 4 evaluations are missing"),
    "fewer episodes": ("eval.csv", lambda c: c.replace(b",50,", b",5,"), "5 episodes"),
    "another agent's name": ("config.json", lambda c: c.replace(b'"rql"', b'"qam"'), "holds the run qam"),
    "a task of its own": ("config.json", lambda c: c.replace(b"task1-v0", b"task9-v0"), "holds the run|none of the"),
    "seeds twice in a run": ("config.json", lambda c: c.replace(b"[0, 1]", b"[0, 0]"), "twice|2 times|rows|seeds"),
    "a run that is not finished": ("status.json", lambda c: c.replace(b'"done"', b'"running"'), "not finished"),
    "a huge number": ("config.json", lambda c: c.replace(b"1000", b"9" * 40), "64 bits"),
    "not JSON": ("status.json", lambda c: c[:-5], "JSON"),
}


@pytest.mark.parametrize("name", FORGED)
def test_forged_records_are_refused_though_the_index_agrees(sent, name):
    file, change, said = FORGED[name]
    edit(sent, f"{RUN}/{file}", change)
    faults = verify(sent).faults
    assert faults
    assert re.search(said, " ".join(faults)), faults


def test_a_changed_file_is_refused(sent):
    path = sent / RUN / "eval.csv"
    path.write_bytes(path.read_bytes().replace(b",0.5,", b",0.9,"))
    assert any("digest differs" in fault for fault in verify(sent).faults)


def test_a_file_that_is_missing_is_refused(sent):
    (sent / RUN / "eval.csv").unlink()
    assert any("missing" in fault for fault in verify(sent).faults)


@pytest.mark.parametrize("name", ["agent.py", f"{RUN}/agent.pkl", f"{RUN}/.hidden", f"{RUN}/deep/er/eval.csv"])
def test_a_file_that_no_submission_holds_is_refused(sent, name):
    (sent / name).parent.mkdir(parents=True, exist_ok=True)
    (sent / name).write_text("import os")
    assert any("does not belong" in fault for fault in verify(sent).faults)


def test_a_link_is_refused_and_not_followed(sent, tmp_path):
    (tmp_path / "secret").write_text("x")
    path = sent / RUN / "train.csv"
    path.symlink_to(tmp_path / "secret")
    assert any("no plain file" in fault for fault in verify(sent).faults)


def test_a_pipe_is_refused_without_waiting(sent):
    os.mkfifo(sent / RUN / "train.csv")
    assert any("no plain file" in fault for fault in verify(sent).faults)


@pytest.mark.parametrize("path", ["../../etc/passwd", "/etc/passwd", "rql/../../x/eval.csv", "a/b/c/d/eval.csv"])
def test_an_index_that_points_elsewhere_is_refused(sent, path):
    index = json.loads((sent / INDEX).read_text())
    index["files"][path] = {"bytes": 1, "sha256": "0"}
    (sent / INDEX).write_text(json.dumps(index))
    assert any("no submission holds" in fault for fault in verify(sent).faults)


def test_another_schema_is_refused(sent):
    (sent / INDEX).write_text(json.dumps({"schema": SCHEMA + 1, "files": {}}))
    assert verify(sent).faults == [f"{INDEX}: schema is {SCHEMA + 1}; this version reads {SCHEMA}"]


def test_the_same_seed_in_two_runs_is_refused(runs, sent):
    write_run(runs, "rql", seeds=(1, 2))
    submit([runs], sent)
    assert any("seed 1 of rql" in fault and "2 times" in fault for fault in verify(sent).faults)


def test_what_a_reviewer_should_look_at_is_said(runs, tmp_path):
    write_run(runs, "ifql", seeds=(0, 3), start={"clean": False, "commit": "b" * 40, "versions": {"mujoco": "3.3.0"}})
    submit([runs], tmp_path / "sent")
    said = "\n".join(verify(tmp_path / "sent").remarks)
    assert "not committed" in said and "2 values of commit" in said and "2 values of mujoco" in said


def test_variants_with_a_label_are_agents_of_their_own_where_seeds_are_counted(tmp_path, capsys):
    for label in ("rql-a", "rql-b"):
        run = write_run(tmp_path / "runs" / label, "rql")
        config = json.loads((run / "config.json").read_text())
        (run / "config.json").write_text(json.dumps(config | {"label": label}))
        (tmp_path / "runs" / label / "rql").rename(tmp_path / "runs" / label / label)
    write_run(tmp_path / "runs", "fql")
    submit([tmp_path / "runs"], tmp_path / "sent")
    assert not any("fewer seeds" in remark for remark in verify(tmp_path / "sent").remarks)
    assert verify_command.main([str(tmp_path / "sent")]) == 0
    assert "3 runs of 3 agents on 1 tasks" in capsys.readouterr().out
    write_run(tmp_path / "runs", "fql", seeds=(2, 3))
    submit([tmp_path / "runs"], tmp_path / "sent")
    assert any("fewer seeds than the 4 of others: rql-a 2, rql-b 2" in r for r in verify(tmp_path / "sent").remarks)


def test_markup_in_a_name_is_shown_as_text_or_refused(sent, capsys):
    (sent / "<script>\x1b[31m").write_text("")
    assert verify_command.main([str(sent)]) == 1
    printed = capsys.readouterr().out
    assert "\x1b" not in printed and "does not belong" in printed


def test_the_two_commands_say_what_they_did(runs, tmp_path, capsys):
    assert submit_command.main(["--runs", str(runs), "--out", str(tmp_path / "sent")]) == 0
    assert verify_command.main([str(tmp_path / "sent")]) == 0
    printed = capsys.readouterr().out
    assert "2 runs" in printed and "whole and consistent" in printed


def test_a_run_whose_records_were_handed_on_is_finished_wherever_they_are_put_back(tmp_path, capsys):
    protocol = PROTOCOLS["toy"].scaled_to(4)
    spec = RunSpec("bc", "toy-modes", (0, 1), {"hidden": (8,)}, protocol, str(tmp_path / "runs"), "toy")
    execute(spec, quiet=True)
    submit([tmp_path / "runs"], tmp_path / "sent")
    assert verify(tmp_path / "sent").faults == []
    shutil.copytree(tmp_path / "sent", tmp_path / "elsewhere")
    capsys.readouterr()
    execute(dataclasses.replace(spec, out=str(tmp_path / "elsewhere")), quiet=True)
    assert "is finished already" in capsys.readouterr().out
