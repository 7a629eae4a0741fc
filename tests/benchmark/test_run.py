"""A run is worked out once, from what was planned, and by nobody who does not need it."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmark.common.errors import UserError
from benchmark.planning import configure
from benchmark.planning.plan import plan
from benchmark.planning.protocols import get_protocol
from benchmark.planning.run import Run
from benchmark.planning.suites import get_suite
from benchmark.runs.protocol import Generated
from benchmark.runs.run import RunSpec
from envs.tasks import get_task

ROOT = Path(__file__).resolve().parents[2]
CUBE = "cube-single-play-singletask-task1-v0"


def planned(tmp_path, task=CUBE, **settings) -> RunSpec:
    protocol = get_protocol("quickstart")
    chosen = dict(tasks=[get_task(task)], seeds=(0, 1), protocol=protocol, out=str(tmp_path), settings=settings)
    (spec,) = plan(get_suite("quickstart"), agents=["fql"], **chosen)
    return dataclasses.replace(spec, data=None)


def test_what_is_planned_is_typed(tmp_path):
    spec = planned(tmp_path, alpha="10", hidden="64,64", batch_size="1e2")
    assert [spec.settings[name] for name in ("alpha", "hidden", "batch_size")] == [10.0, (64, 64), 100]
    assert type(spec.settings["alpha"]) is float and type(spec.settings["batch_size"]) is int


def test_a_run_that_travelled_as_a_line_is_the_same_run(tmp_path):
    spec = planned(tmp_path, alpha="10", hidden="64,64")
    arrived = RunSpec.from_json(spec.to_json())
    assert arrived == spec and arrived.path == spec.path and Run(arrived).config == Run(spec).config
    as_text = {**json.loads(spec.to_json()), "settings": {**arrived.settings, "alpha": "10", "hidden": "64,64"}}
    assert Run(RunSpec.from_json(json.dumps(as_text))).config == Run(spec).config, "older launches wrote text"


def test_a_run_is_configured_once(tmp_path, monkeypatch):
    run = Run(planned(tmp_path, alpha=10))
    asked, plain = [], configure.configure
    monkeypatch.setattr(configure, "configure", lambda *layers: asked.append(1) or plain(*layers))
    assert run.hyperparameters.alpha == run.config["hyperparameters"]["alpha"] == 10
    assert not run.is_done() and run.config is run.config
    assert len(asked) == 1


def test_where_a_run_lies_and_its_data_are_known_without_its_agent(tmp_path):
    code = f"""
import sys
from benchmark.planning.run import Run
from benchmark.runs.run import RunSpec
run = Run(RunSpec.from_json({planned(tmp_path).to_json()!r}))
print(run.path, run.data_path is not None, run.says_done(), "jax" in sys.modules)
run = Run(RunSpec.from_json({planned(tmp_path, "toy-modes").to_json()!r}))
print(run.data_path, run.data_source)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == f"{tmp_path}/fql/{CUBE}/seeds-0-1 True False False\nNone toy\n"


def test_generated_data_of_a_task_that_has_none_are_refused_where_they_would_lie(tmp_path):
    spec = dataclasses.replace(planned(tmp_path), data=Generated(1000), data_dir=str(tmp_path))
    assert Run(spec).data_path == tmp_path / "generated/1000-seed0/cube-single-play-v0.npz"
    assert Run(spec).missing_data() == [("cube-single-play-v0.npz", None)]
    with pytest.raises(UserError, match="'pen-human-v1' cannot be generated"):
        _ = Run(dataclasses.replace(spec, task="pen-human-v1")).data_path
