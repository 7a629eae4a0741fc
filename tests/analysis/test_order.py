"""Agreement with the published order of methods."""

import itertools
import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis import published
from analysis.averaging import agreement
from analysis.averaging.agreement import agreements, chance_among_orders, rank_correlation
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


def test_the_correlation_is_scipys():
    rng = np.random.default_rng(0)
    one, other = rng.integers(0, 4, (5, 9)) / 3, rng.integers(0, 6, 9) / 5
    expected = [stats.spearmanr(row, other).statistic for row in one]
    assert rank_correlation(one, other) == pytest.approx(expected)


def test_equal_means_tie_in_whatever_order_they_were_added():
    # 16 of 150 episodes, whose mean in floating point depends on how they lie among the seeds.
    equal = [np.array(solved) / 50 for solved in ((0, 0, 16), (1, 6, 9), (2, 7, 7))]
    assert len({values.mean() for values in equal}) > 1
    for low in itertools.permutations(equal):
        values = dict(zip(FIGURES.index[:4], [*low, np.full(3, 0.5)], strict=True))
        rows = [(agent, TASK, seed, score) for agent, scores in values.items() for seed, score in enumerate(scores)]
        (found,) = agreements(pd.DataFrame(rows, columns=["agent", "task", "seed", "score"]))
        ranks = stats.rankdata([0, 0, 0, 1])
        assert found.rho == pytest.approx(stats.spearmanr(ranks, FIGURES.iloc[:4]).statistic)


def test_one_seed_of_a_method_has_no_interval(tmp_path):
    for k, agent in enumerate(("bam", "fql", "ifql", "qam")):
        write_run(tmp_path, agent, TASK, seeds=(0,) if k else (0, 1), success=0.1 + 0.2 * k)
    (row,) = order_table(comparable(load_runs(tmp_path))).rows
    assert row[3] == "-" and row[2] != "nan"


@pytest.mark.parametrize("ties", [False, True])
def test_the_chance_is_the_share_of_all_orders(ties):
    rng = np.random.default_rng(1)
    one, other = (rng.integers(0, 4, 7) if ties else rng.permutation(7) for _ in range(2))
    size = abs(stats.spearmanr(one, other).statistic)
    every = [abs(stats.spearmanr(order, other).statistic) for order in itertools.permutations(one)]
    assert chance_among_orders(one, other, rng) == pytest.approx(np.mean(np.array(every) >= size - 1e-9), abs=1e-12)


def test_the_chance_of_a_perfect_order_is_two_of_all():
    assert chance_among_orders(np.arange(12), np.arange(12), np.random.default_rng(0)) == 2 / math.factorial(12)


def test_drawn_orders_come_near_the_share_of_all(monkeypatch):
    one, other = np.arange(9), np.array([2, 0, 1, 5, 3, 4, 8, 7, 6])
    exact = chance_among_orders(one, other, np.random.default_rng(0))
    monkeypatch.setattr(agreement, "MOST_COUNTED", 0)
    assert chance_among_orders(one, other, np.random.default_rng(0)) == pytest.approx(exact, abs=4e-4)


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
