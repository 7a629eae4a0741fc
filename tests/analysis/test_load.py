"""Loading: everything is read, nothing is averaged in silence, the second time is quick."""

from __future__ import annotations

import io
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis import comparable, load_runs, read_training
from analysis.averaging.statistics import final_scores
from analysis.common.progress_bar import bar
from analysis.names import TASKS
from analysis.reading.cache import CACHE_NAME
from analysis.reading.loading import EVALUATION_COLUMNS
from analysis.reading.records import RUN_COLUMNS
from benchmark.common.errors import UserError
from tests.helpers.simulated_runs import write_many, write_run


def test_runs_become_one_tidy_frame(tmp_path: Path) -> None:
    values = {(0, 500): 0.1, (1, 500): 0.2, (0, 1000): 0.3, (1, 1000): 0.4}
    path = write_run(tmp_path, "rql", TASKS[3], success=values)
    runs = load_runs(tmp_path)
    assert tuple(runs.evaluations.columns) == EVALUATION_COLUMNS and tuple(runs.runs.columns) == RUN_COLUMNS
    read = {(r.seed, r.step): r.success for r in runs.evaluations.itertuples()}
    assert read == values
    first = runs.evaluations.iloc[0]
    assert (first["agent"], first["domain"], first["suite"]) == ("rql", "antmaze-large-navigate", "quickstart")
    assert (first["episodes"], first["return"], first["length"]) == (50, -99.9, 195.0)
    assert (first["mujoco"], first["clean"], first["state"], first["run"]) == ("3.4.0", True, "complete", str(path))
    row = runs.runs.iloc[0]
    assert (row["seeds"], row["hyperparameters"]["alpha"], row["fingerprint"]) == ((0, 1), 3.0, "sha256:1")
    assert comparable(runs).notes == []


def test_the_cache_gives_the_same_frames(tmp_path: Path) -> None:
    write_many(tmp_path, agents=2, tasks=3, seeds=2)
    write_run(tmp_path, "fql", diverged={1: 700}, seeds=(7, 1))
    first, second, without = load_runs(tmp_path), load_runs(tmp_path), load_runs(tmp_path, cache=False)
    assert (tmp_path / CACHE_NAME).is_file()
    for other in (second, without):
        pd.testing.assert_frame_equal(first.evaluations, other.evaluations)
        pd.testing.assert_frame_equal(first.runs, other.runs)


def test_what_changed_since_the_cache_is_read_again(tmp_path: Path) -> None:
    path = write_run(tmp_path, "rql", success=0.5)
    gone = write_run(tmp_path, "fql", success=0.5)
    load_runs(tmp_path)
    write_run(tmp_path, "rql", success=0.9)
    os.utime(path / "eval.csv", ns=(1, 1))  # Another time even on a clock that stands still.
    for file in gone.iterdir():
        file.unlink()
    write_run(tmp_path, "qam", success=0.7)
    means = load_runs(tmp_path).evaluations.groupby("agent")["success"].mean()
    assert means.to_dict() == pytest.approx({"rql": 0.9, "qam": 0.7})


@pytest.mark.parametrize("content", [b"", b"not a zip", b"PK\x03\x04 cut short"])
def test_a_broken_cache_is_ignored_and_replaced(content: bytes, tmp_path: Path) -> None:
    write_run(tmp_path)
    (tmp_path / CACHE_NAME).write_bytes(content)
    assert len(load_runs(tmp_path)) == 1
    assert (tmp_path / CACHE_NAME).read_bytes() != content


def test_many_may_load_at_once(tmp_path: Path) -> None:
    write_many(tmp_path, agents=2, tasks=5, seeds=2)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: load_runs(tmp_path).evaluations, range(16)))
    for frame in found[1:]:
        pd.testing.assert_frame_equal(found[0], frame)
    assert [path.name for path in tmp_path.glob(".*")] == [CACHE_NAME]


def test_nothing_below_a_run_is_looked_at_and_folders_may_overlap(tmp_path: Path) -> None:
    path = write_run(tmp_path)
    (path / "checkpoints" / "old").mkdir(parents=True)
    (path / "checkpoints" / "old" / "config.json").write_text("{}")
    assert len(load_runs(tmp_path)) == 1
    assert len(load_runs(tmp_path, path, tmp_path / "rql")) == 1


def test_a_missing_folder_is_an_error_and_an_empty_one_is_not(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no folder"):
        load_runs(tmp_path / "none")
    runs = load_runs(tmp_path)
    assert len(runs) == 0 and comparable(runs).evaluations.empty


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("config.json", "{", "config.json: not JSON"),
        ("config.json", "[]", "not a JSON object"),
        ("config.json", "{}", "no field 'agent'"),
        ("status.json", '{"state": ', "status.json: not JSON"),
        ("eval.csv", "step,seed\n1,2\n", "no column episodes, success"),
        ("eval.csv", "step,seed,episodes,success,return,length\n1,2\n", "line 2 has 2 of 6"),
        ("eval.csv", "step,seed,episodes,success,return,length\n1,0,50,1.5,0,1\n", "outside"),
        ("eval.csv", "step,seed,episodes,success,return,length\n1,0,50,x,0,1\n", "could not convert"),
    ],
)
def test_a_run_that_cannot_be_read_is_shown_as_such(name: str, content: str, reason: str, tmp_path: Path) -> None:
    broken = write_run(tmp_path, "rql")
    write_run(tmp_path, "fql")
    (broken / name).write_text(content)
    runs = load_runs(tmp_path)
    row = runs.runs.set_index("run").loc[str(broken)]
    assert row["state"] == "unreadable" and reason in row["error"]
    selection = comparable(runs)
    assert set(selection.evaluations["agent"]) == {"fql"}
    assert "not readable: 1" in selection.notes[0]


def test_a_run_that_has_only_begun_is_running(tmp_path: Path) -> None:
    path = write_run(tmp_path)
    for name in ("status.json", "provenance.json"):
        (path / name).unlink()
    (path / "eval.csv").write_text("\n")
    runs = load_runs(tmp_path)
    assert runs.runs.iloc[0]["state"] == "running" and runs.evaluations.empty


@pytest.mark.parametrize("state", ["running", "failed"])
def test_an_unfinished_run_is_left_out_with_a_note_or_included_with_one(state: str, tmp_path: Path) -> None:
    write_run(tmp_path, "rql")
    write_run(tmp_path, "fql", state=state, step=500, error="out of memory")
    runs = load_runs(tmp_path)
    assert set(runs.evaluations["state"]) == {"complete", state}
    excluded, included = comparable(runs), comparable(runs, incomplete="include")
    assert set(excluded.evaluations["agent"]) == {"rql"} and "not finished: 1" in excluded.notes[0]
    assert set(included.evaluations["agent"]) == {"rql", "fql"} and "Included though" in included.notes[0]


def test_a_diverged_seed_counts_as_zero_from_there_on(tmp_path: Path) -> None:
    write_run(tmp_path, "rql", seeds=(0, 1), success=0.8, steps=1200, eval_every=400, diverged={1: 700})
    runs = load_runs(tmp_path)
    selection = comparable(runs)
    filled = selection.evaluations[selection.evaluations["imputed"]]
    assert filled[["seed", "step", "success"]].to_numpy().tolist() == [[1, 800, 0], [1, 1200, 0]]
    assert final_scores(selection.evaluations)["score"].tolist() == [0.8, 0.0]
    assert "counted as success 0" in selection.notes[0] and "seed 1 at step 700" in selection.notes[0]
    without = comparable(runs, diverged="exclude")
    assert set(without.evaluations["seed"]) == {0} and "left out" in without.notes[0]


def test_a_run_of_which_every_seed_diverged_at_once_still_counts(tmp_path: Path) -> None:
    write_run(tmp_path, "rql", steps=1000, eval_every=400, diverged={0: 1, 1: 1})
    scores = final_scores(comparable(load_runs(tmp_path)).evaluations)
    assert scores[["seed", "score", "step"]].to_numpy().tolist() == [[0, 0, 1000], [1, 0, 1000]]


def test_a_diverged_run_beside_one_that_cannot_be_read(tmp_path: Path) -> None:
    write_run(tmp_path, "rql", seeds=(0, 1), success=0.8, steps=1200, eval_every=400, diverged={1: 700})
    broken = write_run(tmp_path, "fql")
    (broken / "status.json").write_text("{")
    selection = comparable(load_runs(tmp_path))
    assert set(selection.evaluations["agent"]) == {"rql"}
    assert any("not readable: 1" in note for note in selection.notes), selection.notes


def test_different_experiments_are_kept_apart_by_suite_or_by_what_differs(tmp_path: Path) -> None:
    write_run(tmp_path / "a", "rql", success=0.2, hyperparameters={"alpha": 3})
    write_run(tmp_path / "b", "rql", success=0.4, hyperparameters={"alpha": 10})
    named = comparable(load_runs(tmp_path))
    means = named.evaluations.groupby("agent")["success"].mean().to_dict()
    assert means == {"rql (alpha=3)": 0.2, "rql (alpha=10)": 0.4}
    assert "they differ in alpha" in named.notes[0]
    pooled = comparable(load_runs(tmp_path / "a"), mixed="pool")
    assert pooled.notes == []
    write_run(tmp_path / "b", "rql", success=0.4, suite="ogbench", hyperparameters={"alpha": 10})
    by_suite = comparable(load_runs(tmp_path)).evaluations
    assert set(by_suite["agent"]) == {"rql (quickstart)", "rql (ogbench)"}


@pytest.mark.parametrize(
    ("start", "names"),
    [
        ({"versions": {"mujoco": "3.5.0"}}, {"rql (MuJoCo=3.4.0)", "rql (MuJoCo=3.5.0)"}),
        (
            {"versions": {"mujoco": "3.4.0", "ogbench": "1.1.5"}},
            {"rql (environment=unknown)", "rql (environment=ogbench 1.1.5)"},
        ),
        ({"dataset": {"fingerprint": "sha256:2"}}, {"rql (dataset=1)", "rql (dataset=2)"}),
    ],
)
def test_other_physics_or_data_is_another_experiment(start: dict, names: set[str], tmp_path: Path) -> None:
    write_run(tmp_path, "rql", seeds=(0, 1))
    write_run(tmp_path, "rql", seeds=(2, 3), start=start)
    runs = load_runs(tmp_path)
    assert set(comparable(runs).evaluations["agent"]) == names
    pooled = comparable(runs, mixed="pool")
    assert set(pooled.evaluations["agent"]) == {"rql"} and "are averaged" in pooled.notes[0]


def test_other_commits_are_averaged_with_a_note(tmp_path: Path) -> None:
    write_run(tmp_path, "rql", seeds=(0, 1))
    write_run(tmp_path, "rql", seeds=(2, 3), start={"commit": "b" * 40, "clean": False})
    write_run(tmp_path, "rql", seeds=(4, 5), start={"commit": None, "clean": None})
    selection = comparable(load_runs(tmp_path))
    assert set(selection.evaluations["agent"]) == {"rql"}
    text = " ".join(selection.notes)
    assert "different commits" in text and "1 of 3 runs have no commit" in text
    assert "1 of 3 runs were made with uncommitted changes" in text


def test_versions_of_ogbench_that_stand_side_by_side_are_said(tmp_path: Path) -> None:
    for agent, version in (("rql", "1.1.5"), ("fql", "1.2.2")):
        write_run(tmp_path, agent, start={"versions": {"jax": "0.10.2", "mujoco": "3.4.0", "ogbench": version}})
    (note,) = comparable(load_runs(tmp_path)).notes
    assert "different versions of OGBench" in note and "1.1.5: 1 runs" in note


def test_generated_data_is_said(tmp_path: Path) -> None:
    data = {"name": "data", "fingerprint": "sha256:2", "transitions": 1000, "source": "generated"}
    write_run(tmp_path, "fql", start={"dataset": data})
    write_run(tmp_path, "rql")
    assert any(
        note.startswith("1 of 2 runs trained on data generated here") for note in comparable(load_runs(tmp_path)).notes
    )


def test_a_bar_passes_everything_on_and_writes_nothing_where_nobody_looks(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(bar(iter("abc"), "letters")) == ["a", "b", "c"]
    assert capsys.readouterr() == ("", "")


def test_a_bar_on_a_terminal_says_how_far_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    monkeypatch.setattr("sys.stderr", terminal)
    assert list(bar(["a", "b"], "letters")) == ["a", "b"]
    assert "letters" in terminal.getvalue() and "100%" in terminal.getvalue()
    terminal.truncate(0)
    assert list(bar(["a", "b"], "letters", fewest=3)) == ["a", "b"] and terminal.getvalue() == ""


def test_a_seed_that_was_run_twice_counts_once(tmp_path: Path) -> None:
    write_run(tmp_path / "a", seeds=(0, 1), success=0.2, updated="2026-01-02")
    write_run(tmp_path / "b", seeds=(1, 2), success=0.6, updated="2026-01-01")
    selection = comparable(load_runs(tmp_path))
    scores = final_scores(selection.evaluations)
    assert dict(zip(scores["seed"], scores["score"], strict=True)) == {0: 0.2, 1: 0.2, 2: 0.6}
    assert "Counted once" in selection.notes[0] and "seed 1 of" in selection.notes[0]


def test_training_curves_are_read_when_asked_for(tmp_path: Path) -> None:
    path = write_run(tmp_path)
    (path / "train.csv").write_text("step,seed,critic/loss\n100,0,1.5\n100,1,2.5\n")
    assert read_training(path)["critic/loss"].tolist() == [1.5, 2.5]


@pytest.mark.slow
def test_many_runs_load_quickly_the_second_time(tmp_path: Path) -> None:
    """A sixth of 12,000 runs in a sixth of ten seconds: about five times what it takes on one slow core."""
    assert write_many(tmp_path, agents=20, tasks=50, seeds=2) == 2000
    assert len(load_runs(tmp_path).evaluations) == 40_000
    started = time.process_time()
    runs = load_runs(tmp_path)
    assert time.process_time() - started < 10 / 6
    assert np.isfinite(runs.evaluations["success"]).all()
