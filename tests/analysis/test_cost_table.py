"""The table of what success cost."""

import json

from analysis.averaging.selection import comparable
from analysis.reading.loading import load_runs
from analysis.tables import NAMES, main
from analysis.tabulating.choice import OF_REGIMES, OF_RUNS, WITH_PUBLISHED
from analysis.tabulating.cost import cost_table
from tests.helpers.simulated_runs import write_run

TASKS = ["puzzle-3x3-play-singletask-task1-v0", "scene-play-singletask-task1-v0"]


def test_hours_of_all_runs_of_an_agent_add_up_and_are_shared_by_seeds(tmp_path, capsys):
    for task in TASKS:
        write_run(tmp_path, "rql", task, seeds=(0, 1, 2))
        write_run(tmp_path, "bc", task, seeds=(0,))
    for status in tmp_path.glob("rql/*/*/status.json"):
        status.write_text(json.dumps(json.loads(status.read_text()) | {"train_seconds": 3600, "eval_seconds": 1800}))
    for status in tmp_path.glob("bc/*/*/status.json"):
        known = json.loads(status.read_text())
        del known["train_seconds"]
        status.write_text(json.dumps(known))
    main(["--runs", str(tmp_path), "--table=cost", "--format=csv"])
    rows = [line.split(",") for line in capsys.readouterr().out.splitlines()]
    figures = {row[0]: row[-5:] for row in rows}
    assert figures["rql"] == ["2 x 3 seeds", "cpu: simulated", "2.00", "1.00", "0.50"]
    assert figures["bc"][2:] == ["unknown", "0.00", "unknown"]


def test_success_over_tasks_of_several_regimes_is_no_figure_unless_asked_for_and_marked(tmp_path):
    for agent in ("rql", "fql"):
        write_run(tmp_path, agent, TASKS[0])
        write_run(tmp_path, agent, TASKS[1], steps=2000 if agent == "rql" else 1000)
    results = comparable(load_runs(tmp_path))
    table = cost_table(results)
    assert [row[1].text for row in table.rows] == ["–", "50.0 [50.0, 50.0]"]
    assert any("tasks of several regimes are not averaged" in note and "RQL" in note for note in table.notes)
    marked = cost_table(results, across=True)
    assert [row[1].text for row in marked.rows] == ["50.0 [50.0, 50.0]¶", "50.0 [50.0, 50.0]"]
    assert any("marked ¶" in note for note in marked.notes)


def test_the_tables_that_the_command_names_are_all_there_are():
    assert set(NAMES) == {*WITH_PUBLISHED, *OF_REGIMES, *OF_RUNS}
