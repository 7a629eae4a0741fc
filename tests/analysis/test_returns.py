"""Returns and lengths of episodes in the place of success, in tables and comparisons."""

import csv

import numpy as np
import pytest
from scipy import stats

from analysis import compare, tables
from analysis.averaging.selection import comparable
from analysis.reading.loading import load_runs
from benchmark.common.errors import UserError
from tests.helpers.simulated_runs import write_run

TASK = "puzzle-3x3-play-singletask-task1-v0"


def final(folder, agent, name):
    """The final figures of the seeds, read from the records themselves."""
    rows = list(csv.DictReader(next(folder.glob(f"{agent}/{TASK}/*/eval.csv")).open()))
    last = max(int(row["step"]) for row in rows)
    return np.array([float(row[name]) for row in rows if int(row["step"]) == last])


@pytest.fixture
def runs(tmp_path):
    for agent in ("rql", "bc"):
        place = write_run(tmp_path, agent, TASK, seeds=(0, 1, 2, 3)) / "eval.csv"
        rows = list(csv.DictReader(place.open()))
        for i, row in enumerate(rows):
            better = 700 * (agent == "rql")
            row |= {"return": f"{better - 2500 + 137 * (i % 3)}", "length": f"{500 - 11 * (i % 4)}"}
        with place.open("w", newline="") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)
    return tmp_path


def test_the_table_of_returns_has_means_and_students_intervals_of_the_records(runs, capsys):
    tables.main(["--runs", str(runs), "--table=returns"])
    row = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("| BC"))
    for name in ("return", "length"):
        values = final(runs, "bc", name)
        low, high = stats.ttest_1samp(values, 0).confidence_interval()
        assert f"| {values.mean():.0f} [{low:.0f}, {high:.0f}] |" in row


def test_returns_are_compared_with_welchs_interval_which_nothing_cuts(runs, capsys):
    compare.main(["--runs", str(runs), "--baseline=bc", "--by=task", "--measure=return"])
    said = capsys.readouterr().out
    x, y = final(runs, "rql", "return"), final(runs, "bc", "return")
    low, high = stats.ttest_ind(x, y, equal_var=False).confidence_interval()
    assert f"| {x.mean() - y.mean():+.1f} [{low:.1f}, {high:.1f}] |" in said
    assert "in return, paired by task. Return at the final evaluation" in said
    with pytest.raises(UserError, match=r"'returns'.*did you mean 'return'"):
        compare.main(["--runs", str(runs), "--baseline=bc", "--measure=returns"])


def test_a_diverged_seed_has_no_return_and_is_left_out(runs):
    write_run(runs, "fql", TASK, seeds=(0, 1), diverged={1: 700})
    results = comparable(load_runs(str(runs)))
    assert set(results.scores.query("agent == 'fql'")["seed"]) == {0, 1}
    returns = results.by("return")
    assert set(returns.scores.query("agent == 'fql'")["seed"]) == {0}
    assert "Diverged seeds have none" in returns.notes[-1]


def test_of_what_has_no_return_on_record_the_agent_is_named(runs):
    results = comparable(load_runs(str(runs)))
    gone = results.evaluations.assign(**{"return": np.nan})
    with pytest.raises(UserError, match="of rql, bc no return is on record"):
        type(results)(gone, [], results.runs).by("return")
    assert results.by("success") is results
