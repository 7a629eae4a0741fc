"""Results are worked out once and handed down; what is light stays light; a new agent of the roster has a look."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from agents.roster import ROSTER
from analysis import comparable, load_runs
from analysis.averaging import statistics
from analysis.drawing.style import fixed_looks
from analysis.names import TASKS
from analysis.page.writing import write_folder
from analysis.tables import main
from tests.helpers.simulated_runs import write_run

ROOT = Path(__file__).resolve().parents[2]


def test_tables_figures_and_page_of_one_report_share_one_computation_of_the_scores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for agent, success in (("rql", 0.5), ("fql", 0.25)):
        write_run(tmp_path / "runs", agent, TASKS[0], success=success)
    real, asked = statistics.final_scores, []

    def counted(evaluations: pd.DataFrame, last: int = 1) -> pd.DataFrame:
        asked.append(len(evaluations))
        return real(evaluations, last)

    monkeypatch.setattr(statistics, "final_scores", counted)
    results = comparable(load_runs(tmp_path / "runs"), last=2)
    write_folder(results, tmp_path / "report")
    assert [rows for rows in asked if rows] == [len(results.evaluations)]
    assert "mean of the last 2 evaluations" in (tmp_path / "report" / "summary.md").read_text()


def test_options_are_explained_without_pandas_or_matplotlib() -> None:
    commands = ("figures", "import_archive", "report", "tables")
    code = "; ".join(f"import analysis.{name}; analysis.{name}.parser().format_help()" for name in commands)
    code += "; import sys; print(sorted({'pandas', 'matplotlib', 'scipy', 'jax'} & set(sys.modules)))"
    said = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert said.strip() == "[]"


def test_an_agent_that_joins_the_roster_has_a_look_of_its_own_and_changes_no_other() -> None:
    before, after = fixed_looks(ROSTER), fixed_looks([*ROSTER, "newcomer", "another"])
    assert set(before) == set(ROSTER) and {agent: after[agent] for agent in before} == before
    assert len(set(after.values())) == len(after) == len(ROSTER) + 2


def test_the_summary_is_of_the_agents_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for agent in ("rql", "fql"):
        write_run(tmp_path, agent)
    main([f"--runs={tmp_path}", "--table=summary", "--agents=fql"])
    said = capsys.readouterr().out
    assert "| FQL |" in said and "| RQL |" not in said
