"""The report's tables: one's own rows and hyperparameters first, percent, averages over the tasks that are named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from agents.base import Config
from analysis import comparable, load_runs
from analysis.names import SHARED, TASKS
from analysis.page.writing import write_page
from tests.analysis.test_report import Browser, Elements, browser, needs_browser
from tests.helpers.simulated_runs import write_run

__all__ = ["browser"]  # The fixture.

CUBE = "cube-single-play-singletask-task1-v0"
GENERATED = {"dataset": {"name": "data", "fingerprint": "sha256:2", "transitions": 1000, "source": "generated"}}


def report_of(folder: Path, **options: Any) -> Path:
    """A page without figures of the runs in a folder."""
    return write_page(comparable(load_runs(folder / "runs")), folder / "report.html", drawn=[], **options)


def groups(page: Path) -> tuple[list[str], dict[str, Any]]:
    """The columns' names and the rows by agent and source."""
    table = Elements(page.read_text()).data()["groups"]
    rows = {(row["agent"], row["source"]): row for row in table["rows"]}
    return [column["name"] for column in table["columns"]], rows


def test_one_generated_task_stands_in_no_column_with_a_published_mean(tmp_path: Path) -> None:
    write_run(tmp_path / "runs", "rql", CUBE, success=0.44, start=GENERATED)
    names, rows = groups(report_of(tmp_path, with_published=True))
    own = dict(zip(names, rows["RQL", "own"]["cells"], strict=True))
    theirs = dict(zip(names, next(row for key, row in rows.items() if key[1] != "own")["cells"], strict=True))
    assert names[0] == "cube-single-play task 1 (generated data)"
    assert own[names[0]]["mean"] == 0.44 and own["50 tasks (published data)"] is None
    assert theirs["50 tasks (published data)"]["mean"] > 0 and theirs[names[0]] is None
    assert all((own[name] is None) or (theirs[name] is None) for name in names)


def test_ones_own_agents_come_first_with_their_hyperparameters(tmp_path: Path) -> None:
    settings = {"learning_rate": 3e-4, "hidden": [64, 64], "matmul_precision": "default", "beta": 10.0, "flow_steps": 5}
    write_run(tmp_path / "runs", "rql", TASKS[0], hyperparameters={"alpha": 3.0})
    write_run(tmp_path / "runs", "rql", TASKS[1], hyperparameters={"alpha": 10.0})
    write_run(tmp_path / "runs", "awr_flow", TASKS[0], hyperparameters=settings)
    page = report_of(tmp_path, with_published=True)
    _, rows = groups(page)
    assert list(rows)[:2] == [("awr_flow", "own"), ("RQL", "own")] and len(rows) == 21
    assert [row["settings"] for row in list(rows.values())[:3]] == ["beta=10, flow_steps=5", "alpha by task", ""]
    data = Elements(page.read_text()).data()
    assert list(data["pools"]["hyperparameters"][0])[:2] == ["beta", "flow_steps"]


def test_every_table_of_the_page_rounds_a_figure_once(tmp_path: Path) -> None:
    success = {(seed, step): value for step in (500, 1000) for seed, value in ((0, 2 / 30), (1, 4 / 30))}
    write_run(tmp_path / "runs", "rql", CUBE, success=success)
    page = report_of(tmp_path)
    _, rows = groups(page)
    (average,) = rows["RQL", "own"]["cells"]
    (task,) = Elements(page.read_text()).data()["tasks"]
    assert f"{100 * average['high']:.1f}" == f"{100 * task['high']:.1f}" == "52.4"  # 0.52354


def test_the_shared_hyperparameters_are_those_of_every_agent() -> None:
    assert set(SHARED) == set(Config.__dataclass_fields__)


def test_a_run_has_the_success_that_tables_count_of_it_with_0_of_a_seed_that_diverged_before(tmp_path: Path) -> None:
    write_run(
        tmp_path / "runs", "rql", CUBE, seeds=range(4), success=0.8, steps=1200, eval_every=400, diverged={3: 700}
    )
    write_run(tmp_path / "runs", "fql", CUBE, success=0.8, diverged={0: 1, 1: 700})
    write_run(tmp_path / "runs", "qam", CUBE, success=0.8, diverged={0: 1, 1: 1})
    write_run(tmp_path / "runs", "bc", CUBE, success=0.8, steps=1200, eval_every=400, state="running", step=800)
    results = comparable(load_runs(tmp_path / "runs"))
    data = Elements(report_of(tmp_path).read_text()).data()
    runs = [dict(zip(data["fields"], run, strict=True)) for run in data["runs"]]
    found = {data["pools"]["agent"][run["agent"]]: run["success"] for run in runs}
    means = results.scores.groupby("agent")["score"].mean().to_dict()
    counted = {"rql": 0.6, "fql": 0.0, "qam": 0.0}
    assert found == pytest.approx(counted | {"bc": 0.8}) and means == pytest.approx(counted)


def test_runs_of_every_state_are_counted_at_the_top(tmp_path: Path) -> None:
    for agent, state in (("rql", "done"), ("fql", "interrupted"), ("bc", "failed")):
        write_run(tmp_path / "runs", agent, CUBE, state=state, step=1000 if state == "done" else 500)
    text = report_of(tmp_path).read_text()
    for state in ("done", "interrupted", "failed"):
        assert f"<dt>runs {state}</dt><dd>1</dd>" in text


@needs_browser
def test_the_page_is_in_percent(browser: Browser, tmp_path: Path) -> None:
    success = {(s, t): 0.5 + 0.1 * s for s in (0, 1) for t in (1_000_000, 2_000_000)}
    write_run(tmp_path / "runs", "rql", TASKS[0], success=success, steps=2_000_000, eval_every=1_000_000)
    browser.open(report_of(tmp_path))
    assert browser.column("groups", 3) == ["55.00.0–100.0"] and browser.column("tasks", 2) == ["55.0"]
    assert browser.column("runs", 4) == ["55.0"]
    assert browser.column("tasks", 6) == ["84.0"] and browser.column("tasks", 7) == ["-29.0"]
    browser.do("location.hash = '#run=' + encodeURIComponent(runs[0].run)")
    browser.driver.execute_async_script("setTimeout(arguments[0], 30)")
    ticks = browser.do(
        "return [...document.querySelector('#run svg[role=img]').querySelectorAll('text')].map((t) => t.textContent)"
    )
    assert ticks[0] == "success, %" and "60" in ticks
