"""Agreement with the published order of methods."""

import numpy as np
import pandas as pd
import pytest

from analysis import published
from analysis.averaging.agreement import agreements, rank_correlation
from analysis.averaging.selection import comparable
from analysis.names import TASKS
from analysis.reading.loading import load_runs
from analysis.tabulating.agreement import order_table
from tests.helpers.simulated_runs import write_run

TASK = "puzzle-3x3-play-singletask-task1-v0"
FIGURES = published.by_task().query("task == @TASK").set_index("agent")["success"]


def scores_of(values, seeds=3):
    rows = [(agent, TASK, seed, value) for agent, value in values.items() for seed in range(seeds)]
    return pd.DataFrame(rows, columns=["agent", "task", "seed", "score"])


def test_the_published_order_agrees_wholly_and_its_reverse_not_at_all():
    (same,) = agreements(scores_of(FIGURES.to_dict()))
    assert same.rho == pytest.approx(1) and same.methods == len(FIGURES) and same.chance < 0.01
    (reverse,) = agreements(scores_of((1 - FIGURES).to_dict()))
    assert reverse.rho == pytest.approx(-1)


def test_an_order_by_chance_is_said_to_be_one():
    rng, chances = np.random.default_rng(0), []
    for _ in range(40):
        (found,) = agreements(scores_of(dict(zip(FIGURES.index[:8], rng.permutation(8) / 8, strict=True)), seeds=1))
        chances.append(found.chance)
    assert 0.3 < np.mean(chances) < 0.7


def test_seeds_that_differ_widen_the_interval():
    steady = scores_of(FIGURES.to_dict())
    noisy = steady.assign(score=np.random.default_rng(0).uniform(size=len(steady)))
    (found,) = agreements(noisy)
    assert found.low < found.rho < found.high and found.high - found.low > 0.2


def test_equal_figures_have_no_order():
    assert np.isnan(rank_correlation(np.ones(4), np.arange(4)))


@pytest.mark.filterwarnings("error")
def test_a_task_on_which_all_methods_fail_has_no_order_and_no_interval(tmp_path):
    for agent in ("bam", "fql", "ifql", "qam"):
        write_run(tmp_path, agent, TASK, success=0.0)
    (row,) = order_table(comparable(load_runs(tmp_path))).rows
    assert row == [TASK, "4", "nan", "-", "1.000"]


def test_too_few_methods_make_no_row_and_the_table_says_so(tmp_path):
    write_run(tmp_path, "rql", TASK)
    write_run(tmp_path, "fql", TASK)
    table = order_table(comparable(load_runs(tmp_path)))
    assert table.rows == [] and "no task has 4 methods" in table.notes[0]


def test_the_table_has_a_row_a_task(tmp_path):
    for k, agent in enumerate(("bam", "fql", "ifql", "qam")):
        write_run(tmp_path, agent, TASK, success=0.1 + 0.2 * k)
        write_run(tmp_path, agent, TASKS[0], success=0.1 + 0.2 * k)
    rows = order_table(comparable(load_runs(tmp_path))).rows
    assert [row[:2] for row in rows] == [[TASKS[0], "4"], [TASK, "4"]]


def test_a_task_learned_from_generated_data_is_set_against_the_published_figures(tmp_path):
    generated = {"dataset": {"name": "data", "fingerprint": "sha256:1", "transitions": 1000, "source": "generated"}}
    for agent in ("bam", "fql", "ifql", "qam"):
        write_run(tmp_path, agent, TASK, success=FIGURES[agent], start=generated)
    (row,) = order_table(comparable(load_runs(tmp_path))).rows
    assert row[:3] == [f"{TASK} (generated data)", "4", "1.00"]
