"""Sweeps: many settings in one program equal single runs; what is fair is enforced."""

import dataclasses
import shutil
import signal
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
import yaml

from agents.qam import QAMF
from agents.rql import RQL
from analysis import load_runs
from analysis.averaging.settings import best
from analysis.sweeps import scores, write_scores
from benchmark import sweep
from benchmark.common.errors import Stopped, UserError
from benchmark.common.reading import read_json
from benchmark.loop.recorder import Recorder
from benchmark.loop.stopping import stop_signals_heeded
from benchmark.loop.worker import execute
from benchmark.planning.plan import settings_for
from benchmark.planning.registry import agent_class
from benchmark.runs.record import RunDirectory
from benchmark.runs.table import Table
from benchmark.sweeping import asked as sweeping_asked
from benchmark.sweeping import protocol, results, search, together
from envs.tasks import DOMAINS, TOY_TASKS, Task, default_task

SMALL = ["--set", "hidden=8", "--set", "flow_steps=2", "--set", "batch_size=8"]
SHORT = ["--suite", "toy", "--domains", "toy-modes", "--steps", "30", "--eval-episodes", "6", *SMALL]
GRID = ["--sweep", "learning_rate=1e-4,1e-2", "--sweep", "target_rate=0.1,1"]


def run(folder, *arguments, agent="bc"):
    return sweep.main(["--agent", agent, *SHORT, "--out", str(folder), *arguments])


def asked(folder, *arguments, agent="bc"):
    return sweeping_asked.sweep_from(
        sweep.parser().parse_args(["--agent", agent, *SHORT, "--out", str(folder), *arguments])
    )


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sweep")
    assert run(folder, *GRID) == 0
    return folder


def runs_of(folder):
    made = asked(folder, *GRID)
    return made.runs(made.domains[0])


def records(path):
    return {name: Table(path / name).rows for name in ("train.csv", "eval.csv")}


def test_every_setting_leaves_the_records_of_a_run_of_its_own(swept):
    runs = runs_of(swept)
    assert len(runs) == 4
    for spec in runs:
        config, status = (read_json(spec.path / name) for name in ("config.json", "status.json"))
        assert config["seeds"] == [1000, 1001] and status["state"] == "done" and status["step"] == 30
        assert f"learning_rate={config['hyperparameters']['learning_rate']:g}" in str(spec.path)
        assert {row["seed"] for row in records(spec.path)["eval.csv"]} == {1000, 1001}
    assert len(load_runs(swept).runs) == 4


def test_a_setting_of_a_sweep_gives_the_numbers_of_a_run_alone(swept, tmp_path):
    spec = runs_of(swept)[2]
    alone = dataclasses.replace(spec, out=str(tmp_path))
    execute(alone, quiet=True)
    for name, rows in records(alone.path).items():
        for one, other in zip(rows, records(spec.path)[name], strict=True):
            assert one == pytest.approx(other, rel=2e-3, abs=1e-4)


def test_a_finished_sweep_is_not_run_again_and_its_best_is_written_in_the_form_of_the_tuned_files(swept, capsys):
    assert run(swept, *GRID) == 0
    assert "4 settings of bc on toy-modes are finished already" in capsys.readouterr().out
    written = yaml.safe_load((swept / "tuned" / "bc.yaml").read_text())
    assert set(written) == {"source", "published", "domains"} and written["published"] is False
    chosen = written["domains"]["toy-modes"]
    assert chosen["hidden"] == [8] and {"learning_rate", "target_rate", "batch_size"} <= set(chosen)
    found = scores([spec.path for spec in runs_of(swept)], ["learning_rate", "target_rate"])
    assert found["final"].max() == found[found["learning_rate"] == chosen["learning_rate"]]["final"].max()
    for ending in ("csv", "md", "png", "pdf"):
        assert (swept / "tuned" / f"bc-toy-modes.{ending}").stat().st_size > 100


def test_a_sweep_that_is_cut_goes_on_from_its_checkpoint_with_the_same_records(swept, tmp_path, monkeypatch):
    class Cut(Exception):
        pass

    whole, set_status = runs_of(swept), together.SweepRecorder.set_status

    def cut(self, state, step, *rest):
        set_status(self, state, step, *rest)
        if step == 20 and rest[1:]:
            raise Cut

    protocol = dataclasses.replace(whole[0].protocol, log_every=10, checkpoint_every=10)
    for name in ("whole", "cut"):
        runs = [
            dataclasses.replace(spec, out=str(tmp_path / name / Path(spec.out).name), protocol=protocol)
            for spec in whole[:2]
        ]
        if name == "cut":
            monkeypatch.setattr(together.SweepRecorder, "set_status", cut)
            with pytest.raises(Cut):
                together.train_settings(runs, tmp_path / name, quiet=True)
            assert RunDirectory(runs[0].path).status["state"] == "failed"
            monkeypatch.setattr(together.SweepRecorder, "set_status", set_status)
        together.train_settings(runs, tmp_path / name, quiet=True)
    for spec in runs:
        other = Path(str(spec.path).replace("/cut/", "/whole/"))
        for table in ("train.csv", "eval.csv"):
            assert (spec.path / table).read_text() == (other / table).read_text()
        assert len(read_json(spec.path / "provenance.json")["starts"]) == 2


def test_a_sweep_that_is_asked_to_stop_saves_and_records_that_in_all_its_runs(swept, tmp_path, monkeypatch):
    add_updates = Recorder.add_updates

    def add_and_ask_to_stop(self, step, metrics):
        add_updates(self, step, metrics)
        if step == 20:
            signal.raise_signal(signal.SIGTERM)

    protocol = dataclasses.replace(runs_of(swept)[0].protocol, log_every=10, checkpoint_every=30)
    runs = [
        dataclasses.replace(spec, out=str(tmp_path / Path(spec.out).name), protocol=protocol)
        for spec in runs_of(swept)[:2]
    ]
    monkeypatch.setattr(Recorder, "add_updates", add_and_ask_to_stop)
    with stop_signals_heeded(), pytest.raises(Stopped, match="asked to stop; saved at step 20"):
        together.train_settings(runs, tmp_path, quiet=True)
    folders = [together.sweep_path(runs[0], tmp_path), *(spec.path for spec in runs)]
    for folder in folders:
        status = RunDirectory(folder).status
        assert (status["state"], status["error"], status["step"]) == (
            "interrupted",
            "asked to stop; saved at step 20",
            20,
        )
    monkeypatch.undo()
    together.train_settings(runs, tmp_path, quiet=True)
    assert "continuing from step 20" in (folders[0] / "log.txt").read_text()
    assert {RunDirectory(folder).status["state"] for folder in folders} == {"done"}


def test_a_sweep_that_was_stopped_says_how_to_go_on(tmp_path, monkeypatch, capsys):
    def stopped(runs, folder):
        raise Stopped("asked to stop; saved at step 20")

    monkeypatch.setattr(search, "train_settings", stopped)
    before = signal.getsignal(signal.SIGTERM)
    assert run(tmp_path, *GRID) == 143
    assert (
        "stopped: asked to stop; saved at step 20; to go on, give the same command again\n" in capsys.readouterr().err
    )
    assert signal.getsignal(signal.SIGTERM) == before


def test_options_that_change_the_program_are_refused_by_name():
    with pytest.raises(UserError, match=r"'flow_steps' cannot be swept: it changes the structure.*alpha, expectile"):
        sweeping_asked.parse_sweeps(RQL, ["flow_steps=5,10"])
    with pytest.raises(UserError, match=r"no hyperparameter 'alhpa'.*'alpha'"):
        sweeping_asked.parse_sweeps(RQL, ["alhpa=1"])
    with pytest.raises(UserError, match="expectile must be from 0 to 1"):
        sweeping_asked.parse_sweeps(RQL, ["expectile=0.5,2"])
    with pytest.raises(UserError, match="twice"):
        sweeping_asked.parse_sweeps(RQL, ["alpha=1,1.0"])
    with pytest.raises(UserError, match="twice"):
        sweeping_asked.parse_sweeps(RQL, ["alpha=1", "alpha=2"])
    with pytest.raises(UserError, match="--sweep is needed"):
        sweeping_asked.parse_sweeps(RQL, [])


def test_values_of_which_some_are_without_a_part_of_the_agent_are_refused(tmp_path):
    message = r"--sweep fql_alpha=0,30: at 0 there is no part that 'distill' switches"
    with pytest.raises(UserError, match=message):
        sweeping_asked.parse_sweeps(QAMF, ["fql_alpha=0,30"])
    assert sweeping_asked.parse_sweeps(QAMF, ["fql_alpha=3,30"]) == {"fql_alpha": [3, 30]}
    options = ["--suite=ogbench", "--domains=cube-double-play", f"--out={tmp_path / 'sweep'}", "--sweep=fql_alpha=3,30"]
    made = sweeping_asked.sweep_from(sweep.parser().parse_args(["--agent=qam_f", *options]))
    assert [run.settings["distill"] for run in made.runs(made.domains[0])] == [True, True], "published without"
    with pytest.raises(UserError, match="distill=false and fql_alpha=3 contradict"):
        sweep.main(["--agent=qam_f", *options, "--set=distill=false"])
    assert not (tmp_path / "sweep").exists()


def test_seeds_that_are_reported_may_not_be_tuned_on(tmp_path):
    with pytest.raises(UserError, match="seeds 3 are reported"):
        asked(tmp_path, *GRID, "--seeds", "3,1000")
    with pytest.raises(UserError, match="seeds 1000 are reported"):
        asked(tmp_path, *GRID, "--report-seeds", "999-1000")


def test_agents_tuned_into_one_folder_have_one_budget(swept):
    with pytest.raises(UserError, match=r"another budget.*updates 31, not 30"):
        run(swept, *GRID, "--steps", "31")
    with pytest.raises(UserError, match="5 settings, at most 4 are allowed"):
        run(swept, "--sweep", "learning_rate=1,2,3,4,5")
    with pytest.raises(UserError, match="seeds 3, not 2"):
        run(swept, *GRID, "--seeds", "1000-1002")


def test_tuning_is_on_the_default_task_and_reporting_on_the_others():
    numbers = {"antmaze-large-navigate": 1, "cube-double-play": 2, "scene-play": 2, "puzzle-4x4-play": 4}
    for name, number in numbers.items():
        assert default_task(DOMAINS[name]) == Task(DOMAINS[name], number)
        assert [task.number for task in protocol.reporting_tasks(DOMAINS[name])] == [
            n for n in range(1, 6) if n != number
        ]
    assert protocol.reporting_tasks(TOY_TASKS[0].domain) == [TOY_TASKS[0]]


def test_a_dry_run_of_a_report_trains_nothing(swept, capsys):
    assert run(swept, "--report", "--report-seeds", "6", "--dry-run") == 0
    assert "reporting bc on 1 tasks with seeds 6" in capsys.readouterr().out
    assert not list((swept / "report").glob("*/*/seeds-6"))


def test_the_report_trains_what_was_tuned_with_other_seeds(swept):
    assert run(swept, "--report", "--report-seeds", "5") == 0
    chosen = yaml.safe_load((swept / "tuned" / "bc.yaml").read_text())["domains"]["toy-modes"]
    config = read_json(swept / "report" / "bc" / "toy-modes" / "seeds-5" / "config.json")
    assert config["seeds"] == [5]
    assert {name: config["hyperparameters"][name] for name in chosen} == chosen


def test_a_sweep_says_what_it_writes_and_is_refused_where_that_does_not_fit(tmp_path, capsys, monkeypatch):
    assert run(tmp_path / "sweep", *GRID, "--dry-run") == 0
    said = capsys.readouterr().out
    assert "4 at once" in said or "all at once" in said
    monkeypatch.setattr(shutil, "disk_usage", lambda place: SimpleNamespace(free=1000))
    with pytest.raises(UserError, match=r"these 4 runs write .* has 1 kB free"):
        run(tmp_path / "sweep", *GRID)
    assert not (tmp_path / "sweep").exists()


def test_a_finished_sweep_needs_no_room(swept, capsys, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda place: SimpleNamespace(free=0))
    assert run(swept, *GRID) == 0


def test_the_best_has_the_highest_final_success_then_the_highest_course(tmp_path):
    rows = [(0.1, 0.5, 0.4, 0.9), (0.1, 0.7, 0.8, 0.1), (1.0, 0.5, 0.8, 0.2), (1.0, 0.7, 0.8, 0.2)]
    found = pd.DataFrame(rows, columns=["alpha", "expectile", "final", "course"])
    found = found.assign(agent="rql", task="toy-modes", spread=0.0, seeds=2, updates=10)
    assert best(found, ["alpha", "expectile"]) == {"alpha": 1.0, "expectile": 0.5}
    third = pd.concat([found.assign(discount=d) for d in (0.9, 0.99)])
    for frame, names in ((found[found["alpha"] == 1], ["expectile"]), (third, ["alpha", "expectile", "discount"])):
        assert len(write_scores(frame, names, tmp_path, "x")) == 4


def test_tuned_settings_beside_an_agents_own_file_are_used_wherever_it_is(tmp_path):
    text = "from agents.bc import BC\n\n\nclass Mine(BC):\n    name = 'mine_of_test_sweep'\n"
    (tmp_path / "mine_of_test_sweep.py").write_text(text)
    results.write_tuned(tmp_path / "mine_of_test_sweep.yaml", "a test", "scene-play", {"learning_rate": 0.5})
    results.write_tuned(tmp_path / "mine_of_test_sweep.yaml", "a test", "cube-double-play", {"hidden": [8, 8]})
    cls = agent_class(str(tmp_path / "mine_of_test_sweep.py"))
    assert settings_for(cls, Task(DOMAINS["scene-play"], 1))["learning_rate"] == 0.5
    assert settings_for(cls, Task(DOMAINS["cube-double-play"], 3))["hidden"] == [8, 8]


def test_a_report_refuses_values_that_were_not_tuned(swept):
    with pytest.raises(UserError, match="--sweep learning_rate=1e-4,1e-2 does not go with --report"):
        run(swept, "--report", *GRID)
    with pytest.raises(UserError, match=r"--set learning_rate=7: on toy-modes learning_rate .* was tuned"):
        run(swept, "--report", "--report-seeds", "7", "--set", "learning_rate=7")
    assert not list((swept / "report").glob("*/*/seeds-7"))
