"""The table of every seed's own success."""

import json

from analysis.averaging.selection import comparable
from analysis.reading.loading import load_runs
from analysis.tables import main
from analysis.tabulating.each_seed import seeds_table
from tests.helpers.simulated_runs import write_run

PUZZLE, SCENE = "puzzle-3x3-play-singletask-task1-v0", "scene-play-singletask-task1-v0"


def values(final: list[float], before: list[float]) -> dict[tuple[int, int], float]:
    """Success of each seed at both evaluations."""
    return {(s, 1000): v for s, v in enumerate(final)} | {(s, 500): v for s, v in enumerate(before)}


def shown(folder, capsys, *more: str) -> list[list[str]]:
    main(["--runs", str(folder), "--table=seeds", *more])
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_each_seed_stands_with_its_final_and_its_highest_success(tmp_path, capsys):
    made = write_run(tmp_path, "rql", PUZZLE, (0, 1, 2), values([0.02, 0.4, 0.0], [0.82, 0.1, 0.133]))
    status = json.loads((made / "status.json").read_text()) | {"train_seconds": 3600, "eval_seconds": 1800}
    (made / "status.json").write_text(json.dumps(status))
    header, _, row = shown(tmp_path, capsys)
    found = dict(zip(header, row, strict=True))
    assert (found["seeds"], found["each seed"], found["highest of each"]) == ("0-2", "2, 40, 0", "82, 40, 13.3")
    assert found["success"].startswith("14.0 [") and found["return"].startswith("-100 [")
    assert found["hours"] == "1.00 + 0.50"


def test_on_each_task_the_best_stand_first_and_seeds_of_several_runs_are_in_order(tmp_path, capsys):
    write_run(tmp_path, "rql", SCENE, (2, 3), 0.2)
    write_run(tmp_path, "rql", SCENE, (0, 1), 0.4)
    for agent, success in (("bc", 0.1), ("fql", 0.9), ("dsrl", 0.25)):
        write_run(tmp_path, agent, SCENE, success=success)
    write_run(tmp_path, "bc", PUZZLE, success=0.7)
    rows = shown(tmp_path, capsys)[2:]
    assert [row[1] for row in rows] == [*[SCENE] * 4, PUZZLE]
    assert [row[0] for row in rows] == ["FQL", "RQL", "DSRL", "BC (flow)", "BC (flow)"]
    assert next(row for row in rows if row[0] == "RQL")[3:5] == ["0-3", "40, 40, 20, 20"]


def test_a_run_whose_time_is_not_on_record_has_unknown_hours_and_a_diverged_seed_no_return(tmp_path):
    made = write_run(tmp_path, "rql", PUZZLE, (0, 1), diverged={0: 600})
    status = json.loads((made / "status.json").read_text())
    del status["train_seconds"]
    (made / "status.json").write_text(json.dumps(status))
    row = seeds_table(comparable(load_runs(tmp_path))).rows[0]
    assert row[4] == "0, 50" and row[7] == "unknown" and row[6].text == "-100"


def test_rows_of_several_regimes_stand_apart(tmp_path):
    write_run(tmp_path, "rql", PUZZLE, success=0.1)
    write_run(tmp_path, "fql", PUZZLE, success=0.2)
    write_run(tmp_path, "bc", PUZZLE, success=0.9, steps=2000)
    table = seeds_table(comparable(load_runs(tmp_path)))
    assert table.header[-1] == "regime" and [row[0] for row in table.rows] == ["fql", "rql", "bc"]
    assert any("rows stand by regime" in note for note in table.notes)
