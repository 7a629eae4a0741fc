"""run_all.py and benchmark.train as a person calls them."""

import json
import subprocess
import sys
import time

import pytest

import run_all
from benchmark.common.errors import UserError
from benchmark.loop import worker
from benchmark.planning.run import Run
from benchmark.planning.suites import SUITES
from benchmark.runs.run import RunSpec
from benchmark.train import parse


def test_help_needs_no_heavy_import():
    code = "import sys, run_all; run_all.parser().format_help(); print('jax' in sys.modules or 'pandas' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "False"


def test_list_names_agents_suites_and_tasks(capsys):
    assert run_all.main(["--list"]) == 0
    text = capsys.readouterr().out
    for word in ("rql", "fql", "bc", "quickstart", "ogbench", "cube-double-play-singletask-task{1,2,3,4,5}-v0"):
        assert word in text


def test_dry_run_prints_the_plan_and_does_nothing(capsys, tmp_path):
    out, data = tmp_path / "out", tmp_path / "data"
    assert run_all.main(["--suite=quickstart", "--dry-run", f"--out={out}", f"--data-dir={data}"]) == 0
    text = capsys.readouterr().out
    assert "3 runs of 6 seeds in all; 0 done, 3 to do" in text
    assert "would be generated (50,000 transitions)" in " ".join(text.split())
    assert not out.exists() and not data.exists()


def test_dry_run_of_the_whole_suite_takes_seconds(capsys, tmp_path):
    started = time.perf_counter()
    run_all.main(
        ["--suite=ogbench", "--dry-run", "--seeds-per-process=1", f"--out={tmp_path}", f"--data-dir={tmp_path}"]
    )
    assert "12000 runs of 12000 seeds" in capsys.readouterr().out
    assert time.perf_counter() - started < 60


@pytest.mark.parametrize(
    "arguments, message",
    [
        ([], "--suite is needed"),
        (["--suite=quikstart"], "unknown suite 'quikstart' .did you mean 'quickstart'"),
        (["--suite=quickstart", "--agents=rql,fqll"], "unknown agent 'fqll' .did you mean 'fql'"),
        (["--suite=quickstart", "--tasks=cube"], "unknown task of suite 'quickstart' 'cube'"),
        (["--suite=ogbench", "--domains=cube-doubel-play"], "did you mean 'cube-double-play'"),
        (["--suite=quickstart", "--seeds=x"], "seeds 'x' do not parse"),
        (["--suite=quickstart", "--steps=-1"], "--steps must be a whole number"),
        (["--suite=quickstart", "--protocol=qma"], "unknown protocol 'qma' .did you mean 'qam'"),
        (["--suite=quickstart", "--set=alfa=1"], "no hyperparameter 'alfa'"),
        (["--suite=quickstart", "--set=learning_rate=fast"], "learning_rate must be a number"),
    ],
)
def test_bad_input_is_named_before_any_work(arguments, message, tmp_path):
    with pytest.raises(UserError, match=message):
        run_all.main([*arguments, f"--out={tmp_path / 'out'}"])
    assert not (tmp_path / "out").exists()


def test_bad_input_is_one_line_and_exit_code_2():
    done = subprocess.run([sys.executable, "run_all.py", "--suite=quikstart"], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("error: unknown suite") and done.stderr.count("\n") == 1


def test_a_reader_that_has_enough_of_the_output_is_no_error():
    done = subprocess.run(
        f"'{sys.executable}' run_all.py --list | head -n 1", shell=True, capture_output=True, text=True
    )
    assert done.stderr == "" and done.stdout.startswith("agents")


def test_a_run_travels_as_json():
    spec = parse(["--agent=fql", "--task=cube-double-play-singletask-task2-v0", "--seeds=0-2", "--set=alpha=3"])
    assert RunSpec.from_json(spec.to_json()) == spec
    assert spec.settings["alpha"] == 3 and spec.settings["discount"] == 0.99


def test_a_finished_run_is_not_run_again(tmp_path, capsys, monkeypatch):
    spec = parse(["--agent=bc", "--task=cube-single-play-singletask-task1-v0", f"--out={tmp_path}"])
    path = spec.path
    path.mkdir(parents=True)
    (path / "config.json").write_text(json.dumps(Run(spec).config))
    (path / "status.json").write_text(json.dumps({"state": "done"}))
    monkeypatch.setattr(worker, "train_run", lambda *_: pytest.fail("it ran again"))
    worker.execute(spec)
    assert "finished already" in capsys.readouterr().out


def test_a_folder_of_another_configuration_is_refused_before_any_work(tmp_path):
    asked = ["--agent=bc", "--task=cube-single-play-singletask-task1-v0", f"--out={tmp_path}"]
    spec = parse(asked)
    path = spec.path
    path.mkdir(parents=True)
    (path / "config.json").write_text(json.dumps(Run(spec).config))
    with pytest.raises(UserError, match=r"another configuration \(hyperparameters.flow_steps: 10, not 4\)"):
        worker.execute(parse([*asked, "--set", "flow_steps=4"]))


def test_every_suite_names_agents_and_tasks_that_exist():
    for name, suite in SUITES.items():
        assert suite.name == name and suite.agents and suite.tasks and suite.seeds
