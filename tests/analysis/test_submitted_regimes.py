"""Submissions: the regime is derived from their records, the folder follows from it, and hostile ones are refused.

Every broken submission here goes through `verify`, and every submission of the repository does.
"""

import json
import os
import re
import shutil
from pathlib import Path

import pytest

from analysis import submit as submit_command
from analysis import verify as verify_command
from analysis.names import TASKS
from analysis.reading.loading import load_runs
from analysis.regimes import folder_name
from analysis.submissions.checking import verify
from analysis.submissions.layout import CARD, INDEX
from analysis.submissions.making import submit
from analysis.submissions.standing import RESULTS, default_folder, regimes_of, submissions_under
from benchmark.common.errors import UserError
from tests.analysis.test_regimes import run_online
from tests.analysis.test_submissions import edit
from tests.helpers.simulated_runs import write_run

CUBE = TASKS[35]
RUN = f"rql/{CUBE}/seeds-0-1"
AS_QAM = {"hidden": [512] * 4, "chunk_length": 5, "alpha": 1.0}
DATA = {"name": "data", "fingerprint": "sha256:1", "transitions": 1_000_000, "source": "file"}


AS_BEGUN = {"dataset": DATA, "versions": {"mujoco": "3.4.0", "ogbench": "1.2.2"}}


def of_qam(folder, agent="rql", **changed):
    """A run of the regime `qam`, or of another where something is changed."""
    steps = changed.pop("steps", 1_000_000)
    asked = {"hyperparameters": AS_QAM, "start": AS_BEGUN}
    return write_run(folder, agent, CUBE, steps=steps, eval_every=steps // 2, **(asked | changed))


@pytest.fixture
def sent(tmp_path):
    of_qam(tmp_path / "runs")
    out = default_folder(load_runs(tmp_path / "runs"), tmp_path / "submissions")
    submit([tmp_path / "runs"], out)
    return out


def faults(folder):
    return " | ".join(verify(folder).faults)


def test_the_default_folder_is_named_after_the_regime_the_last_day_and_the_agent(sent, tmp_path):
    assert sent == tmp_path / "submissions" / "qam" / "2026-01-01_rql"
    assert verify(sent).faults == [] and verify(sent).regimes == {"rql": "qam"}


def test_a_regime_without_a_name_is_a_folder_too():
    regime = "12,000 updates, generated data, networks 256x256, chunks of 1 or 5, 50 episodes"
    assert folder_name(regime) == "12000-updates-generated-data-networks-256x256-chunks-of-1-or-5-50-episodes"
    assert folder_name("../../etc") == "etc" and folder_name("…") == "not-recorded"


def test_regimes_that_differ_in_their_last_word_have_names_of_their_own_however_short():
    one, other = (f"12,000 updates, generated data, networks 256x256, {'chunks of 1 or ' * 9}{last}" for last in "56")
    for longest in (60, 120):
        names = [folder_name(regime, longest) for regime in (one, other)]
        assert names[0] != names[1] and all(len(name) <= longest for name in names)
        assert all(name.startswith("12000-updates-generated-data-networks-256x256") for name in names)


def test_a_regime_that_the_records_do_not_have_is_refused(sent, tmp_path):
    claimed = tmp_path / "submissions" / "rql" / sent.name
    shutil.copytree(sent, claimed)
    assert "it lies under 'rql', and rql is of the regime 'qam'" in faults(claimed)


def test_records_of_another_length_are_of_another_regime_whatever_their_folder_says(sent):
    def longer(content):
        return content.replace(b"1000000", b"2000000").replace(b"500000", b"1000000")

    for name in ("config.json", "status.json", "eval.csv"):
        edit(sent, f"{RUN}/{name}", longer)
    assert "rql is of the regime 'rql'" in faults(sent)


def test_agents_of_several_regimes_are_not_sent_into_one_folder(tmp_path):
    of_qam(tmp_path)
    of_qam(tmp_path, "fql", steps=2_000_000)
    with pytest.raises(UserError, match=r"several regimes \(rql: qam; fql: rql\)"):
        default_folder(load_runs(tmp_path))


def test_seeds_of_two_lengths_on_one_task_are_of_several_regimes(tmp_path):
    of_qam(tmp_path / "runs" / "long", "fql", seeds=(2, 3), steps=2_000_000)
    of_qam(tmp_path / "runs" / "short", "fql")
    assert regimes_of(load_runs(tmp_path / "runs"))["fql"].startswith("several regimes: 2,000,000 or 1,000,000 updates")


def test_runs_with_an_online_phase_have_another_default_folder(tmp_path):
    run_online(tmp_path / "runs", "fql")
    folder = default_folder(load_runs(tmp_path / "runs"), tmp_path / "submissions")
    assert folder.parent.name.startswith("1000000-updates-500000-online-steps-standard-data")


def test_runs_that_finished_since_are_added_to_the_submission_that_has_the_others(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(default_folder, "__defaults__", (tmp_path / "submissions",))
    of_qam(tmp_path / "runs")
    submit_command.main(["--runs", str(tmp_path / "runs")])
    of_qam(tmp_path / "runs", "fql", updated="2026-02-02T00:00:00+00:00")
    submit_command.main(["--runs", str(tmp_path / "runs")])
    (sent,) = submissions_under(tmp_path / "submissions", INDEX)
    assert sent.name == "2026-01-01_rql" and verify(sent).faults == [] and len(verify(sent).runs) == 2
    assert f"{sent} is there, and is added to" in capsys.readouterr().out


def test_the_same_run_of_others_or_of_another_regime_is_no_place_for_it(sent, tmp_path):
    began = AS_BEGUN | {"time": "2026-02-02T00:00:00+00:00"}
    of_qam(tmp_path / "theirs", start=began, updated="2026-02-02T00:00:00+00:00")
    assert default_folder(load_runs(tmp_path / "theirs"), tmp_path / "submissions").name == "2026-02-02_rql"
    of_qam(tmp_path / "longer", steps=2_000_000)
    assert default_folder(load_runs(tmp_path / "longer"), tmp_path / "submissions").parent.name == "rql"


def test_runs_that_two_submissions_have_need_a_folder_named(sent, tmp_path):
    of_qam(tmp_path / "other", "fql")
    submit([tmp_path / "other"], sent.parent / "2026-01-01_fql")
    with pytest.raises(UserError, match=r"2026-01-01_fql and .*2026-01-01_rql have some of these runs each"):
        default_folder(load_runs(tmp_path / "runs", tmp_path / "other"), tmp_path / "submissions")


def test_both_commands_print_the_regime(tmp_path, capsys):
    of_qam(tmp_path / "runs")
    submit_command.main(["--runs", str(tmp_path / "runs"), "--out", str(tmp_path / "sent")])
    verify_command.main([str(tmp_path / "sent")])
    assert capsys.readouterr().out.count("regime of rql: qam") == 2


def test_the_card_says_what_the_records_do_and_another_one_is_remarked(sent):
    card = (sent / CARD).read_text()
    assert "regime of rql: qam" in card and f"| rql | {CUBE} | 2 | 50.0" in card and "a" * 40 in card
    edit(sent, CARD, lambda content: content.replace(b"50.0", b"90.0"))
    assert any(CARD in remark for remark in verify(sent).remarks) and not verify(sent).faults


def test_names_with_markup_stay_text_in_the_card(tmp_path):
    write_run(tmp_path / "runs", "rql", CUBE, start={"device": "<img src=x>|*"})
    submit([tmp_path / "runs"], tmp_path / "sent")
    assert "<img" not in (tmp_path / "sent" / CARD).read_text()


def a_row_again(content):
    return content + content.split(b"\n")[-2] + b"\n"


def a_later_row(content):
    return content + b"1200000,0,50,1.0,-1,100\n"


def a_shorter_run(content):
    return content.replace(b'"step": 1000000, "steps": 1000000', b'"step": 500000, "steps": 500000')


HOSTILE = {
    "a seed's result twice": ("eval.csv", a_row_again, "more than once"),
    "a better result after the end": ("eval.csv", a_later_row, "at step 1,200,000, at which its protocol"),
    "a run that ends where it was best": ("status.json", a_shorter_run, "done at step 500,000"),
    "more evaluations than memory": ("config.json", lambda c: c.replace(b"500000", b"1"), "missing|too often"),
    "a length beyond all": ("config.json", lambda c: c.replace(b'"steps": 1000000', b'"steps": 1e308'), "whole number"),
    "NaN as a hyperparameter": ("config.json", lambda c: c.replace(b"1.0", b"NaN"), "no number"),
    "an infinite time": ("status.json", lambda c: c.replace(b"10.0", b"Infinity"), "no number"),
    "an infinite return": ("eval.csv", lambda c: c.replace(b",-99.5,", b",inf,"), "no number"),
    "a duplicate seed": ("config.json", lambda c: c.replace(b"[0, 1]", b"[0, 1, 1]"), "holds the run|2 times"),
    "a negative seed": ("config.json", lambda c: c.replace(b"[0, 1]", b"[0, -1]"), "whole numbers of 32 bits"),
    "markup as the agent's name": ("config.json", lambda c: c.replace(b'"rql"', b'"<script>"'), "holds the run"),
    "a path as the agent's name": ("config.json", lambda c: c.replace(b'"rql"', b'"../../rql"'), "holds the run"),
    "a path as the label": (
        "config.json",
        lambda c: c.replace(b'"schema": 1', b'"schema": 1, "label": "../x"'),
        "holds the run",
    ),
    "lists within lists": (
        "config.json",
        lambda c: c.replace(b"1.0", b"[" * 99 + b"]" * 99),
        "nested deeper",
    ),
    "half a character": ("config.json", lambda c: c.replace(b"quickstart", b"\xff"), "not UTF-8"),
    "a table of other columns": ("eval.csv", lambda c: c.replace(b"success", b"reward"), "no column success"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_records_are_refused_though_the_index_agrees(sent, name):
    file, change, said = HOSTILE[name]
    before = (sent / RUN / file).read_bytes()
    edit(sent, f"{RUN}/{file}", change)
    assert (sent / RUN / file).read_bytes() != before
    assert re.search(said, faults(sent)), faults(sent)


def test_the_evaluation_between_an_offline_and_an_online_phase_is_the_protocols(tmp_path):
    steps = (400, 800, 1000, 1200, 1500)
    path = of_qam(tmp_path / "runs", steps=1500)
    config = json.loads((path / "config.json").read_text())
    config["protocol"] |= {"steps": 1000, "online_steps": 500, "eval_every": 400}
    (path / "config.json").write_text(json.dumps(config))
    header = (path / "eval.csv").read_text().split("\n")[0]
    rows = [f"{step},{seed},50,0.5,-1,100" for step in steps for seed in (0, 1)]
    (path / "eval.csv").write_text("\n".join([header, *rows]) + "\n")
    submit([tmp_path / "runs"], tmp_path / "sent")
    assert verify(tmp_path / "sent").faults == []


def test_what_the_reviewer_reads_has_nothing_that_a_terminal_acts_on(sent, capsys):
    edit(sent, f"{RUN}/config.json", lambda c: c.replace(b'"rql"', b'"\\u001b[31mrql"'))
    assert verify_command.main([str(sent)]) == 1
    assert "\x1b" not in capsys.readouterr().out


# ---- those of the repository


def test_every_submission_of_the_repository_is_whole_and_of_its_regime():
    found = {folder.relative_to(RESULTS): verify(folder).faults for folder in submissions_under(RESULTS, INDEX)}
    assert {folder: wrong for folder, wrong in found.items() if wrong} == {}


def test_a_broken_submission_anywhere_below_the_results_is_found(sent, tmp_path):
    assert submissions_under(tmp_path, INDEX) == [sent]
    (sent / RUN / "eval.csv").unlink()
    assert [bool(verify(folder).faults) for folder in submissions_under(tmp_path, INDEX)] == [True]


def test_nothing_but_submissions_is_kept_where_they_are():
    folder = RESULTS / "submissions"
    files = [Path(place, name) for place, _, names in os.walk(folder) for name in names]
    inside = submissions_under(folder, INDEX)
    loose = [path for path in files if path != folder / "README.md" and not any(s in path.parents for s in inside)]
    assert loose == []


def test_the_index_itself_may_not_be_a_list(sent):
    (sent / INDEX).write_text(json.dumps([1, 2]))
    assert "not a JSON object" in faults(sent)
