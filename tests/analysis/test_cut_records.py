"""A finished run whose evaluations were cut or lost, or that has rows of others, is named wherever runs are shown."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from analysis import comparable, figures, load_runs, report, tables
from benchmark.common.errors import UserError
from benchmark.launching import front_door
from tests.helpers.simulated_runs import write_run

OTHER = "1000,7,50,0.0,-100,200\n"


def spoil(path: Path, how: str) -> None:
    text = (path / "eval.csv").read_text()
    lines = text.splitlines(keepends=True)
    if how == "gone":
        (path / "eval.csv").unlink()
        return
    kept = {"empty": "", "header": lines[0], "last": "".join(lines[:-1]), "first": lines[0] + "".join(lines[3:])}
    kept |= {"middle": text[: text.index("\n1000,1") + 12], "other": text + OTHER}
    (path / "eval.csv").write_text(kept[how])


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ("gone", "eval.csv: 4 of 4 evaluations are missing, the first of seed 0 at step 500"),
        ("empty", "eval.csv: 4 of 4 evaluations are missing"),
        ("header", "eval.csv: 4 of 4 evaluations are missing"),
        ("last", "eval.csv: 1 of 4 evaluations are missing, the first of seed 1 at step 1000"),
        ("first", "eval.csv: 2 of 4 evaluations are missing, the first of seed 0 at step 500"),
        ("middle", "eval.csv: line 5 has 4 of 6 columns"),
        ("other", "eval.csv: rows of seed 7, which config.json does not name"),
    ],
)
def test_a_finished_run_with_rows_missing_or_of_others_is_left_out_and_named(
    how: str, reason: str, tmp_path: Path
) -> None:
    broken = write_run(tmp_path, "rql", success=1.0)
    write_run(tmp_path, "fql")
    spoil(broken, how)
    runs = load_runs(tmp_path)
    row = runs.runs.set_index("run").loc[str(broken)]
    assert row["state"] == "unreadable" and row["error"].startswith(reason)
    assert str(broken) not in set(runs.evaluations["run"])
    selection = comparable(runs)
    assert set(selection.evaluations["agent"]) == {"fql"}
    assert f"{broken}: {reason}" in selection.notes[0]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (("0.5,-99.5,190.0", "nan,nan,nan"), "eval.csv: a success that is no number"),
        (("0.5,-99.5,190.0", ",-99.5,190.0"), "eval.csv: a success that is no number"),
        (("1000,1,50", "1000,1,nan"), "eval.csv: a row without a seed, step or number of episodes"),
    ],
)
def test_a_run_with_a_row_that_is_no_number_is_left_out_and_named_and_the_others_stay(
    change: tuple[str, str], reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = write_run(tmp_path, "rql")
    write_run(tmp_path, "fql")
    text = (broken / "eval.csv").read_text()
    (broken / "eval.csv").write_text(text.replace(*change))
    assert (broken / "eval.csv").read_text() != text
    for table in ("summary", "task", "domain", "reproduction"):
        tables.main([f"--runs={tmp_path}", f"--table={table}"])
        said = capsys.readouterr().out
        assert f"{broken}: {reason}" in said.replace("\\_", "_") and "50" in said and "FQL" in said, table


def test_seeds_that_diverged_and_runs_under_way_miss_nothing(tmp_path: Path) -> None:
    write_run(tmp_path, "rql", diverged={1: 700})
    write_run(tmp_path, "fql", state="running", step=500)
    assert set(load_runs(tmp_path).runs["state"]) == {"done", "running"}
    lost = write_run(tmp_path, "qam", diverged={1: 700})
    (lost / "eval.csv").write_text((lost / "eval.csv").read_text().replace("500,1,50", "500,0,50"))
    (error,) = load_runs(tmp_path).runs.query("agent == 'qam'")["error"]
    assert "1 of 4 evaluations are missing, the first of seed 1 at step 500" in error


def call(main: Callable[[], int | None], monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr("sys.argv", ["command", *arguments])
    main()


def test_every_table_figure_and_report_names_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = write_run(tmp_path / "runs", "rql")
    write_run(tmp_path / "runs", "fql")
    spoil(broken, "gone")
    said = f"{broken}: eval.csv: 4 of 4 evaluations are missing"
    for table in ("summary", "task", "domain", "reproduction", "d4rl"):
        call(tables.main, monkeypatch, f"--runs={tmp_path / 'runs'}", f"--table={table}")
        assert said in capsys.readouterr().out.replace("\\_", "_"), table
    page = tmp_path / "report.html"
    call(report.main, monkeypatch, f"--runs={tmp_path / 'runs'}", f"--out={page}", "--no-figures")
    assert said in page.read_text()
    call(figures.main, monkeypatch, f"--runs={tmp_path / 'runs'}", f"--out={tmp_path / 'figures'}")
    told = capsys.readouterr()
    assert said in told.out + told.err


def test_where_it_is_the_only_run_it_is_named_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = write_run(tmp_path, "rql")
    spoil(broken, "last")
    with pytest.raises(UserError, match="1 of 4 evaluations are missing"):
        call(tables.main, monkeypatch, f"--runs={tmp_path}", "--table=summary")
    front_door.report(tmp_path, [])
    told = " ".join(capsys.readouterr().out.split())
    assert "1 of 4 evaluations are missing" in told and "no finished run to report yet" in told
