"""How many seeds a difference needs: as the textbook has it where the textbook applies, and from whose spread."""

from __future__ import annotations

import csv
import io
import json

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis.comparing.cost import rates, seed_hours
from analysis.comparing.power import curve, flat_tasks, needed, power, spread_of
from analysis.names import TASKS
from analysis.seeds import main
from benchmark.common.errors import UserError
from tests.helpers.simulated_runs import write_run

NORMAL = stats.norm.ppf((np.arange(200) + 0.5) / 200)


def scores(**agents: dict[str, list[float]]) -> pd.DataFrame:
    rows = [
        (agent, task, seed, score)
        for agent, tasks in agents.items()
        for task, values in tasks.items()
        for seed, score in enumerate(values)
    ]
    return pd.DataFrame(rows, columns=["agent", "task", "seed", "score"])


def test_the_power_is_that_of_the_t_test_where_scores_are_normal():
    # 8 seeds against 8 of spread 0.1, a difference of 0.15: noncentral t, 14 degrees of freedom.
    spread, noncentrality = {"t": 0.1 * NORMAL}, 0.15 / (0.1 * np.sqrt(2 / 8))
    bound = stats.t.ppf(0.975, 14)
    expected = stats.nct.sf(bound, 14, noncentrality) + stats.nct.cdf(-bound, 14, noncentrality)
    assert power(spread, spread, ["t"], 0.15, 8, 1000) == pytest.approx(expected, abs=0.05)


def test_without_a_difference_the_power_is_the_level():
    spread = {task: 0.1 * NORMAL for task in TASKS[:5]}
    assert power(spread, spread, TASKS[:5], 0.0, 4, 1000) == pytest.approx(0.05, abs=0.02)


def test_three_seeds_of_one_task_have_no_power_whatever_the_difference():
    spread = {"t": 0.01 * NORMAL}
    assert power(spread, spread, ["t"], 0.9, 3, 10) == 0.0
    assert power(spread, spread, ["t"], 0.9, 4, 10) == 1.0
    assert power(spread, spread, ["t"], 0.9, 4, 10, comparisons=2) == 0.0


def test_a_task_of_single_seeds_is_left_out_and_named(tmp_path, capsys):
    for agent in ("rql", "fql"):
        values = {(seed, at): 0.5 + 0.1 * seed for seed in range(3) for at in (500, 1000)}
        write_run(tmp_path, agent, TASKS[0], range(3), values)
        write_run(tmp_path, agent, TASKS[1], (0,))
    main(["--agents", "rql,fql", "--difference", "50", "--by", "overall", "--runs", str(tmp_path)])
    said = capsys.readouterr().out
    assert f"Left out, for no agent has two seeds there: 1 ({TASKS[1]})" in said and "the mean over all 1 task" in said


@pytest.mark.parametrize("agents", ["rql,fql", "mine,fql"])
def test_single_seeds_alone_are_a_clear_line(tmp_path, agents):
    for agent in agents.split(","):
        write_run(tmp_path, agent, TASKS[0], (0,))
    with pytest.raises(UserError, match=f"no agent has two seeds on {TASKS[0]}; how seeds differ"):
        main(["--agents", agents, "--difference", "50", "--runs", str(tmp_path)])


def test_tasks_of_several_regimes_are_named(tmp_path, capsys):
    for agent in ("rql", "fql"):
        values = {(seed, at): 0.5 + 0.1 * seed for seed in range(3) for at in (500, 1000, 1500, 2000)}
        write_run(tmp_path, agent, TASKS[0], range(3), values)
        write_run(tmp_path, agent, TASKS[1], range(3), values, steps=2000)
    main(["--agents", "rql,fql", "--difference", "50", "--by", "task", "--runs", str(tmp_path)])
    assert "several regimes: 1,000 or 2,000 updates" in capsys.readouterr().out


def test_more_seeds_and_larger_differences_have_more_power():
    spread = {task: 0.15 * NORMAL for task in TASKS[:2]}
    found = [curve(spread, spread, "domain", points, seeds=(2, 4, 8)) for points in (0.05, 0.17)]
    assert found[0][2] < found[0][4] < found[0][8]
    assert found[0][4] < found[1][4]
    assert needed(found[1]) == 8 and needed(found[0]) is None


def test_tasks_on_which_seeds_do_not_differ_do_not_count_as_single_tasks():
    spread = {TASKS[0]: 0.15 * NORMAL, TASKS[1]: 0.0 * NORMAL}
    assert flat_tasks(spread, spread) == {TASKS[1]}
    alone = {TASKS[0]: spread[TASKS[0]]}
    assert curve(spread, spread, "task", 0.1, seeds=(4,)) == curve(alone, alone, "task", 0.1, seeds=(4,))
    unsolved = {TASKS[1]: spread[TASKS[1]]}
    assert curve(unsolved, unsolved, "task", 0.1, seeds=(4,)) == {4: 1.0}


def test_an_agents_own_seeds_give_its_spread_without_bias():
    spread, words = spread_of("mine", scores(mine={"t": [0.4, 0.6]}), ["t"])
    assert np.mean(spread["t"] ** 2) == pytest.approx(np.var([0.4, 0.6], ddof=1))
    assert words == "its own 2 seeds"


def test_an_agent_with_published_figures_has_the_spread_of_agents_like_it():
    task = TASKS[0]  # RQL's figure there is 84%
    others = {f"far{k}": {task: [0.0, 0.2]} for k in range(3)}
    like = {f"near{k}": {task: [0.83, 0.85]} for k in range(3)}
    spread, words = spread_of("rql", scores(**others, **like), [task])
    assert len(spread[task]) == 6 and np.ptp(spread[task]) < 0.04
    assert "nearest to its published figure" in words
    assert "all other agents" in spread_of("new", scores(**others, **like), [task])[1]


def test_hours_follow_measured_rates(tmp_path):
    row = {"device": "d", "domain": "c", "size": "paper", "precision": "default", "error": None}
    rows = [row | {"agent": agent, "seed_updates_per_second": rate} for agent, rate in (("a", 100), ("b", 50))]
    (tmp_path / "d.json").write_text(json.dumps({"rows": rows}))
    assert seed_hours(["a", "b"], 360_000, 2, rates(tmp_path)) == {"d": pytest.approx(2 * (1 + 2))}
    assert seed_hours(["a", "c"], 360_000, 2, rates(tmp_path)) == {}
    (tmp_path / "e.json").write_text("[]")
    with pytest.raises(UserError, match=r"e\.json"):
        rates(tmp_path)


def test_the_command_says_how_many_and_draws_the_curve(tmp_path, capsys):
    for agent, success in (("rql", 0.8), ("fql", 0.4)):
        values = {(s, at): success + 0.02 * s for s in range(4) for at in (500, 1000)}
        write_run(tmp_path / "runs", agent, "cube-double-play-singletask-task1-v0", range(4), values)
    arguments = ["--runs", str(tmp_path / "runs"), "--agents", "rql,fql", "--difference", "30", "--by", "overall"]
    main([*arguments, "--format", "csv", "--out", str(tmp_path / "figures")])
    row = next(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert row["seeds per task"] == "4" and float(row["3 seeds"]) == 0
    assert {path.suffix for path in (tmp_path / "figures").iterdir()} == {".pdf", ".png"}


def test_the_command_names_what_is_wrong():
    for arguments, said in (
        (["--agents", "rql"], "two agents"),
        (["--agents", "rql,fql", "--difference", "0"], "at least 1"),
        (["--agents", "rql,fql", "--by", "tusk"], "did you mean 'task'"),
        (["--agents", "rql,fql"], "--archive FILE or --runs DIR"),
    ):
        with pytest.raises(UserError, match=said):
            main(arguments)
