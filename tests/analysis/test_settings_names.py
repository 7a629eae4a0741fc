"""Settings of one agent are told apart by what differs; data that were generated make another task."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from analysis import comparable, load_runs
from analysis.drawing.style import agent_text
from analysis.names import TASKS
from tests.helpers.simulated_runs import write_run

BASE = {"beta": 1.0, "learning_rate": 3e-4, "hidden": [64, 64], "flow_steps": 10}


def setting(folder: Path, task: str = TASKS[0], label: str = "", steps: int = 1000, **changed: Any) -> None:
    """A run of `awr_flow` with some hyperparameters changed, in a folder of its own."""
    home = folder / f"{len(list(folder.iterdir())) if folder.exists() else 0}"
    path = write_run(home, "awr_flow", task, hyperparameters=BASE | changed, steps=steps, eval_every=steps)
    config = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps(config | ({"label": label} if label else {})))


def names(folder: Path) -> set[str]:
    """The names under which the runs of a folder are averaged."""
    return set(comparable(load_runs(folder)).evaluations["agent"])


def test_a_name_says_the_values_that_differ(tmp_path: Path) -> None:
    setting(tmp_path, beta=1.0)
    assert names(tmp_path) == {"awr_flow"}
    setting(tmp_path, beta=10)
    setting(tmp_path, beta=0.1)
    assert names(tmp_path) == {"awr_flow (beta=1)", "awr_flow (beta=10)", "awr_flow (beta=0.1)"}
    setting(tmp_path, beta=10, hidden=[128, 32])
    assert "awr_flow (beta=10 hidden=128x32)" in names(tmp_path) and len(names(tmp_path)) == 4


def test_no_name_has_a_comma_and_close_numbers_stay_apart(tmp_path: Path) -> None:
    setting(tmp_path, beta=0.12345678, hidden=[8, 8])
    setting(tmp_path, beta=0.12345679, hidden=[8, 8, 8])
    made = names(tmp_path)
    assert made == {"awr_flow (beta=0.12345678 hidden=8x8)", "awr_flow (beta=0.12345679 hidden=8x8x8)"}


def test_of_many_differences_as_few_are_named_as_tell_the_settings_apart(tmp_path: Path) -> None:
    setting(tmp_path)
    setting(tmp_path, beta=3.0, learning_rate=1e-3, flow_steps=5, steps=2000)
    assert names(tmp_path) == {"awr_flow (beta=1 learning_rate=0.0003)", "awr_flow (beta=3 learning_rate=0.001)"}
    setting(tmp_path, beta=3.0, learning_rate=1e-4, flow_steps=5, steps=2000)
    note = next(note for note in comparable(load_runs(tmp_path)).notes if "kept apart" in note)
    assert len(names(tmp_path)) == 3 and "awr_flow (beta=3 learning_rate=0.0001)" in names(tmp_path)
    assert "beta, learning_rate, flow_steps, steps, eval_every" in note


def test_a_setting_has_one_name_on_all_tasks(tmp_path: Path) -> None:
    setting(tmp_path, beta=1.0)
    setting(tmp_path, beta=10)
    setting(tmp_path, TASKS[1], beta=10)
    setting(tmp_path, TASKS[2], beta=7)
    evaluations = comparable(load_runs(tmp_path)).evaluations
    tasks = evaluations.groupby("agent")["task"].unique().map(set).to_dict()
    assert tasks["awr_flow (beta=10)"] == {TASKS[0], TASKS[1]} and tasks["awr_flow"] == {TASKS[2]}


def test_ones_own_label_wins(tmp_path: Path) -> None:
    setting(tmp_path, beta=1.0, label="as published")
    assert names(tmp_path) == {"awr_flow (as published)"}
    setting(tmp_path, beta=1.0, label="again")
    setting(tmp_path, beta=10)
    assert names(tmp_path) == {"awr_flow (as published)", "awr_flow (again)", "awr_flow"}
    setting(tmp_path, beta=5, label="again")
    assert {"awr_flow (again beta=1)", "awr_flow (again beta=5)", "awr_flow"} < names(tmp_path)


def test_names_in_figures_keep_the_value_that_tells_them_apart() -> None:
    long = [f"my_own_algorithm (learning_rate={rate})" for rate in (0.0001, 0.0003)]
    assert len({agent_text(name) for name in long}) == 2 and max(len(agent_text(name)) for name in long) <= 32
    assert agent_text("awr_flow (beta=1 learning_rate=0.0003)") == "awr_flow (beta=1 lr=0.0003)"
    assert agent_text("rql (alpha=3)") == "RQL (alpha=3)"


def test_a_task_on_generated_data_is_another_task(tmp_path: Path) -> None:
    data = {"name": "data", "fingerprint": "sha256:2", "transitions": 1000, "source": "generated"}
    write_run(tmp_path / "a", "fql", start={"dataset": data}, success=0.25)
    write_run(tmp_path / "b", "fql", success=0.75)
    evaluations = comparable(load_runs(tmp_path)).evaluations
    means = evaluations.groupby(["agent", "task", "domain"])["success"].mean().to_dict()
    domain = "antmaze-large-navigate"
    assert means == {("fql", f"{TASKS[0]} (generated data)", domain): 0.25, ("fql", TASKS[0], domain): 0.75}
