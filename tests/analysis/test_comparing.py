"""Differences between agents: equal to scipy's where it has the test, and right about what few seeds allow to say."""

from __future__ import annotations

import csv
import io
import itertools
import json
import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis.compare import main
from analysis.comparing.differences import compare, data_orders, of_one_task, verdict
from analysis.comparing.resampling import holm, permutation_test, same_tasks, smallest_p, weights
from analysis.comparing.scores import read
from benchmark.common.errors import UserError
from tests.analysis.test_regimes import run
from tests.helpers.calibration import CHANCES, SETTINGS, Setting, chance_errors, errors, interval_errors
from tests.helpers.simulated_runs import write_run

X = np.array([0.62, 0.70, 0.58, 0.74])
Y = np.array([0.50, 0.66, 0.54, 0.46])
NETWORKS = "networks 512x512x512x512, chunks of 5, 50 episodes"
LONGER = np.array([0.50, 0.66, 0.54, 0.46, 0.30, 0.88])


def pair(x, y, together=False):
    return np.array([x], dtype=float), np.array([y], dtype=float), together


def scores(**agents: list[list[float]]) -> pd.DataFrame:
    """Final scores from agent=[[score of seed 0, seed 1, ...] per task]."""
    rows = [
        (agent, f"cube-double-play-singletask-task{t + 1}-v0", "cube-double-play", seed, score)
        for agent, tasks in agents.items()
        for t, seeds in enumerate(tasks)
        for seed, score in enumerate(seeds)
    ]
    return pd.DataFrame(rows, columns=["agent", "task", "domain", "seed", "score"])


# ---- the test


def test_a_single_task_has_the_p_value_that_scipy_gave():
    # scipy.stats.permutation_test((X, Y), lambda x, y, axis: x.mean(axis) - y.mean(axis), vectorized=True,
    # n_resamples=inf).pvalue of scipy 1.17: 8 of 70 arrangements, counted below too.
    assert permutation_test([pair(X, Y)])[0] == pytest.approx(0.11428571428571428, abs=1e-12)
    pooled = np.concatenate([X, Y])
    sums = [pooled[list(places)].sum() for places in itertools.combinations(range(8), 4)]
    assert permutation_test([pair(X, Y)])[0] == 2 * np.mean(np.array(sums) >= X.sum() - 1e-9)


def test_unequal_numbers_of_seeds_agree_with_scipys_test_of_the_welch_statistic():
    def welch(x, y, axis):
        error = x.var(axis=axis, ddof=1) / x.shape[axis] + y.var(axis=axis, ddof=1) / y.shape[axis]
        return (x.mean(axis=axis) - y.mean(axis=axis)) / np.sqrt(error)

    expected = stats.permutation_test((X, LONGER), welch, vectorized=True, n_resamples=np.inf).pvalue
    assert permutation_test([pair(X, LONGER)])[0] == pytest.approx(expected, abs=1e-12)


def test_seeds_compared_one_by_one_agree_with_scipys_test_of_samples():
    def mean(x, y, axis):
        return (x - y).mean(axis=axis)

    x, y = np.append(X, [0.9, 0.8]), np.append(Y, [0.7, 0.82])
    expected = stats.permutation_test((x, y), mean, permutation_type="samples", vectorized=True, n_resamples=np.inf)
    assert permutation_test([pair(x, y, True)])[0] == pytest.approx(expected.pvalue, abs=1e-12)


def test_drawn_arrangements_come_near_the_exact_p_value():
    drawn = permutation_test([pair(X, LONGER)], most=200)[0]
    assert drawn == pytest.approx(permutation_test([pair(X, LONGER)])[0], abs=0.06)


def test_tasks_are_strata():
    # Two tasks of two seeds, y's always below: of 6 x 6 arrangements the true one alone is as extreme.
    easy, hard = pair([0.9, 0.8], [0.7, 0.6]), pair([0.4, 0.3], [0.2, 0.1])
    assert permutation_test([easy, hard])[0] == pytest.approx(2 / 36)


@pytest.mark.parametrize(
    ("kind", "smallest"),
    [
        ((1, 1, False), 1.0),
        ((2, 2, False), 1 / 3),
        ((3, 3, False), 0.1),
        ((4, 4, False), 2 / 70),
        ((4, 12, False), 2 / 1820),
        ((4, 4, True), 1 / 8),
    ],
)
def test_the_smallest_possible_p_value_is_known(kind, smallest):
    x, y, together = kind
    assert smallest_p([kind]) == pytest.approx(smallest)
    if x > 1:
        apart = pair(0.9 + 0.01 * np.arange(x), 0.001 * np.arange(y) ** 2, together)
        assert permutation_test([apart])[0] == pytest.approx(smallest)


def test_seeds_that_all_score_the_same_are_no_difference():
    assert permutation_test([pair([0.0] * 4, [0.0] * 4)])[0] == 1.0


def test_holms_correction_is_that_of_its_definition():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == pytest.approx([1.0, 1.0])
    assert len(holm([])) == 0


# ---- intervals


def test_the_interval_for_other_seeds_is_scipys_stratified_bootstrap_a_little_wider():
    rng = np.random.default_rng(0)
    pairs = [pair(rng.uniform(0.2, 0.8, 5), rng.uniform(0.2, 0.8, 5)) for _ in range(10)]

    def difference(*samples, axis):
        means = [sample.mean(axis=axis) for sample in samples]
        return np.mean(means[:10], axis=0) - np.mean(means[10:], axis=0)

    data = [side[0] for which in (0, 1) for side in (p[which] for p in pairs)]
    scipys = stats.bootstrap(data, difference, n_resamples=20_000, method="percentile", vectorized=True, rng=0)
    samples = same_tasks(pairs, [(weights(5, 20_000, rng), weights(5, 20_000, rng)) for _ in pairs])
    # n - 1 draws of n = 5 seeds: wider by the root of 5/4.
    assert samples.std() == pytest.approx(scipys.standard_error * math.sqrt(5 / 4), rel=0.02)
    means = [side.mean() for side in (p[0] - p[1] for p in pairs)]
    assert samples.mean() == pytest.approx(np.mean(means), abs=5e-3)


def test_a_single_task_has_welchs_interval():
    low, high = of_one_task(pair(X, LONGER))
    expected = stats.ttest_ind(X, LONGER, equal_var=False).confidence_interval()
    assert (low, high) == pytest.approx((expected.low, expected.high))
    assert of_one_task(pair([1.0] * 3, [0.5] * 3)) == (0.5, 0.5)


# ---- what is said


def test_a_difference_and_its_chance_are_those_computed_by_hand():
    # Task 1: 0.5 against 0.3 (of 4 pairs of runs 3 above, 1 tie), task 2: equal.
    one = compare(scores(a=[[0.4, 0.6], [0.2, 0.2]], b=[[0.2, 0.4], [0.2, 0.2]]), "b", ["overall"])[0]
    assert one.difference == pytest.approx(0.1)
    assert one.improvement == pytest.approx((3.5 / 4 + 0.5) / 2)
    assert one.interval[0] <= 0.1 <= one.interval[1]
    assert one.where == "all 2 tasks"


def paired(**agents: list[list[float]]) -> dict[tuple[str, str, int], str]:
    """Orders that say of all seeds of the same number that they saw the same batches."""
    return {(row.agent, row.task, row.seed): str(row.seed) for row in scores(**agents).itertuples()}


def test_the_chance_of_paired_seeds_is_of_runs_of_different_seeds():
    # Of six pairs of different seeds a is above in 4 and ties in 1; with its own seed it always is.
    agents = {"a": [[0.2, 0.4, 0.6]], "b": [[0.1, 0.2, 0.3]]}
    one = compare(scores(**agents), "b", ["task"], paired(**agents))[0]
    assert one.kinds == ((3, 3, True),) and one.improvement == pytest.approx(4.5 / 6)
    alone = {name: [tasks[0][:1]] for name, tasks in agents.items()}
    assert math.isnan(compare(scores(**alone), "b", ["task"], paired(**alone))[0].improvement)


@pytest.mark.parametrize("seeds", [2, 3, 4, 8, 12])
def test_the_interval_of_the_chance_of_paired_seeds_holds_its_estimate(seeds):
    rng = np.random.default_rng(seeds)
    for shift in (0.01, 0.3):
        b = rng.uniform(size=(2, seeds))
        agents = {"a": (b + shift).tolist(), "b": b.tolist()}
        for one in compare(scores(**agents), "b", ["overall", "task"], paired(**agents)):
            low, high = one.improvement_interval
            assert low <= one.improvement + 1e-9 and one.improvement <= high + 1e-9


def test_pairs_of_seeds_have_the_same_interval_of_the_difference_as_their_differences():
    # Where y's seeds do not differ a pair is its difference, and y's draws count alone.
    x = np.random.default_rng(0).uniform(size=(2, 5))
    drawn = [(weights(5, 100, np.random.default_rng(k)), weights(5, 100, np.random.default_rng(k + 9))) for k in (0, 1)]
    pairs = [pair(row + 0.1, np.full(5, 0.1), True) for row in x]
    expected = np.mean([of_y @ row for (_, of_y), row in zip(drawn, x, strict=True)], axis=0)
    assert same_tasks(pairs, drawn)[:, 0] == pytest.approx(expected)


@pytest.mark.parametrize(("seeds", "floor"), [(2, "0.33"), (3, "0.1")])
def test_two_or_three_seeds_of_one_task_get_no_p_value_but_the_reason(seeds, floor):
    table = scores(a=[[0.9, 0.91, 0.92][:seeds]], b=[[0.1, 0.11, 0.12][:seeds]])
    one = compare(table, "b", ["task"])[0]
    assert math.isnan(one.p) and math.isnan(one.corrected)
    assert verdict(one, "B").startswith(f"cannot be told with {seeds} against {seeds} seeds")
    assert f"p below {floor}" in verdict(one, "B")


def test_one_seed_says_nothing():
    one = compare(scores(a=[[0.9]], b=[[0.1]]), "b", ["overall"])[0]
    assert math.isnan(one.p) and "one seed" in verdict(one, "B")


def test_four_seeds_are_too_few_for_one_of_many_comparisons():
    agents = {name: [[0.9, 0.91, 0.92, 0.93]] for name in ("a", "c", "d")}
    found = compare(scores(b=[[0.1, 0.11, 0.12, 0.13]], **agents), "b", ["task"])
    assert [one.corrected for one in found] == pytest.approx([3 * 2 / 70] * 3)
    assert "too much for one of 3 comparisons" in verdict(found[0], "B")
    alone = compare(scores(a=agents["a"], b=[[0.1, 0.11, 0.12, 0.13]]), "b", ["task"])[0]
    assert verdict(alone, "B") == "above B on this task"


def test_each_scope_is_a_family_of_its_own():
    rng = np.random.default_rng(1)
    table = scores(**{name: rng.uniform(size=(3, 4)).tolist() for name in "abc"})
    found = compare(table, "a", ["overall", "domain", "task"])
    assert [(one.scope, one.family) for one in found] == [("overall", 2)] * 2 + [("domain", 2)] * 2 + [("task", 6)] * 6


def test_one_task_has_one_row_an_agent_unless_only_the_whole_is_asked_for():
    one_task = scores(x=[[0.6, 0.7, 0.5, 0.8]], y=[[0.4, 0.5, 0.6, 0.3]])
    assert [one.scope for one in compare(one_task, "y", ("overall", "domain", "task"))] == ["task"]
    assert [one.scope for one in compare(one_task, "y", ("overall",))] == ["overall"]


@pytest.mark.filterwarnings("error")
def test_an_agent_whose_seeds_do_not_differ_has_welchs_interval_without_a_warning():
    same = [0.02] * 3  # whose mean in floating point is another number
    low, high = of_one_task(pair(same, [0.0, 0.18, 0.0]))
    assert (low + high) / 2 == pytest.approx(-0.04) and high - low == pytest.approx(2 * 4.3027 * 0.06, rel=1e-4)


def test_an_agent_does_not_change_anothers_interval():
    rng = np.random.default_rng(2)
    tasks = {name: rng.uniform(size=(3, 4)).tolist() for name in "abc"}
    both, alone = (
        compare(scores(**tasks), "a", ["overall"]),
        compare(scores(a=tasks["a"], c=tasks["c"]), "a", ["overall"]),
    )
    assert both[1].interval == alone[0].interval and both[1].improvement_interval == alone[0].improvement_interval


def test_seeds_are_paired_only_where_the_record_says_that_they_share_their_batches():
    row = {"run": "r", "agent": "rql", "task": "t", "seeds": (0, 1), "fingerprint": "f", "jax": "0.10", "label": ""}
    sizes = {"batch_size": 256, "chunk_length": 5, "alpha": 1.0}
    runs = pd.DataFrame(
        [
            row | {"hyperparameters": sizes},
            row | {"run": "s", "hyperparameters": sizes | {"alpha": 3.0}},
            row | {"run": "other batches", "hyperparameters": sizes | {"batch_size": 512}},
            row | {"run": "other data", "fingerprint": "g", "hyperparameters": sizes},
            row | {"run": "other agent", "agent": "fql", "hyperparameters": sizes},
            row | {"run": "not recorded", "fingerprint": "", "hyperparameters": sizes},
            row | {"run": "authors", "label": "rql-authors", "hyperparameters": sizes},
        ]
    )
    orders = data_orders(runs, runs[["run", "task"]].assign(agent=runs["run"]))
    assert orders["r", "t", 0] == orders["s", "t", 0]
    assert len({orders[run, "t", 0] for run in ("r", "other batches", "other data", "other agent")}) == 4
    assert ("not recorded", "t", 0) not in orders and ("authors", "t", 0) not in orders
    table = scores(r=[[0.1, 0.2]], s=[[0.3, 0.4]]).assign(task="t")
    assert compare(table, "r", ["task"], orders)[0].kinds == ((2, 2, True),)
    assert compare(table, "r", ["task"])[0].kinds == ((2, 2, False),)


# ---- the error rates are what is claimed


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.name)
def test_the_test_errs_as_often_as_claimed(setting: Setting):
    # Two standard errors of 1,000 simulations are 1.4%; with few seeds an exact test errs less often than allowed.
    assert errors(setting, 1000) <= 0.05 + 0.016


@pytest.mark.parametrize("setting", SETTINGS[:4], ids=lambda setting: setting.name)
def test_the_intervals_miss_as_often_as_claimed(setting: Setting):
    for missed in interval_errors(setting, 400):
        assert missed == pytest.approx(0.05, abs=0.03)


@pytest.mark.parametrize("setting", CHANCES, ids=lambda setting: setting.name)
def test_the_interval_of_the_chance_misses_at_most_as_often_as_claimed_and_never_its_estimate(setting: Setting):
    missed, estimate_outside = chance_errors(setting, 300)
    assert missed <= 0.05 + 0.03 and estimate_outside == 0


# ---- the command


def test_the_command_compares_runs(tmp_path, capsys):
    for agent, success in (("rql", 0.8), ("fql", 0.4)):
        values = {(s, at): success + 0.01 * s for s in range(4) for at in (500, 1000)}
        write_run(tmp_path, agent, "cube-double-play-singletask-task1-v0", range(4), values)
    main(["--runs", str(tmp_path), "--baseline", "rql", "--format", "csv"])
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["agent"] for row in rows] == ["fql"]
    assert rows[0]["difference"] == "-40" and rows[0]["p"] == "0.029"
    assert rows[0]["verdict"].startswith("below RQL")
    for form in ("md", "latex", "html"):
        main(["--runs", str(tmp_path), "--baseline", "rql", "--format", form])
        assert "below RQL" in capsys.readouterr().out


@pytest.mark.parametrize("source", ["file", "generated"])
def test_variants_of_one_agent_are_paired_whatever_their_data_and_the_authors_code_is_not(tmp_path, source):
    data = {"name": "data", "fingerprint": "sha256:1", "transitions": 1000, "source": source}
    for name, changed in (("a", {}), ("b", {"alpha": 3.0}), ("theirs", {})):
        sizes = {"batch_size": 256, "chunk_length": 5, "alpha": 1.0} | changed
        made = write_run(tmp_path / name, "rql", seeds=range(4), hyperparameters=sizes, start={"dataset": data})
    config = json.loads((made / "config.json").read_text())
    (made / "config.json").write_text(json.dumps(config | {"label": "rql-authors"}))
    found = read([str(tmp_path)], None)
    together = {one.agent: one.kinds[0][2] for one in compare(found.scores, "rql (alpha=1)", ["task"], found.orders)}
    assert together == {"rql (alpha=3)": True, "rql (rql-authors)": False}


def rows_of(folder, capsys, *more: str) -> list[dict[str, str]]:
    """What the command says of RQL beside FQL, as a row a comparison."""
    main(["--runs", str(folder), "--baseline", "fql", "--by", "overall,domain", "--format", "csv", *more])
    return list(csv.DictReader(io.StringIO(capsys.readouterr().out)))


def test_published_and_generated_data_of_a_domain_have_rows_of_their_own(tmp_path, capsys):
    for agent in ("rql", "fql"):
        for number in (1, 2):
            run(tmp_path / "published", agent, f"cube-double-play-singletask-task{number}-v0")
        run(tmp_path / "generated", agent, source="generated")
    rows = [row["tasks"] for row in rows_of(tmp_path, capsys)]
    assert rows == [
        *("2 of 3 tasks", "cube-double-play-singletask-task1-v0 (generated data)"),
        *("cube-double-play", "cube-double-play (generated data)"),
    ]


def test_a_baselines_tasks_of_several_regimes_have_rows_of_their_own(tmp_path, capsys):
    for agent in ("rql", "fql"):
        for number in range(1, 5):
            steps = 1_000_000 if number < 3 else 3_000_000
            run(tmp_path, agent, f"cube-double-play-singletask-task{number}-v0", steps=steps)
    for rows in (rows_of(tmp_path, capsys), rows_of(tmp_path, capsys, "--across-regimes")):
        said = [row["tasks"] for row in rows]
        assert said[:2] == ["2 of 4 tasks: qam", f"2 of 4 tasks: 3,000,000 updates, standard data, {NETWORKS}"]
        assert said[2].startswith("cube-double-play: qam") and said[3].startswith("cube-double-play: 3,000,000 updates")


def test_tasks_of_a_named_regime_are_averaged_together_though_their_data_and_chunks_differ(tmp_path, capsys):
    for agent in ("rql", "fql"):
        run(tmp_path, agent)
        run(tmp_path, agent, "antmaze-large-navigate-singletask-task1-v0", chunk=1)
        run(tmp_path, agent, "cube-quadruple-play-singletask-task1-v0", transitions=100_000_000)
    assert rows_of(tmp_path, capsys)[0]["tasks"] == "all 3 tasks"


def test_without_records_generated_data_are_told_by_the_tasks_name():
    table = scores(a=[[0.4, 0.6], [0.2, 0.2]], b=[[0.2, 0.4], [0.2, 0.2]])
    made = table.assign(task=table["task"] + " (generated data)")
    found = compare(pd.concat([table, made]), "b", ["overall"])
    assert [(one.where, len(one.tasks)) for one in found] == [
        *(("2 of 4 tasks", 2), ("2 of 4 tasks (generated data)", 2)),
    ]
    assert compare(made, "b", ["overall"])[0].where == "all 2 tasks (generated data)"


def test_the_command_names_what_is_wrong(tmp_path):
    write_run(tmp_path, "rql")
    for arguments, said in (
        (["--baseline", "rql"], "give --runs DIR or --archive FILE"),
        (["--runs", str(tmp_path), "--baseline", "rqk"], "did you mean 'rql'"),
        (["--runs", str(tmp_path), "--baseline", "rql"], "no other agent"),
        (["--runs", str(tmp_path), "--baseline", "rql", "--by", "tasks"], "did you mean 'task'"),
    ):
        with pytest.raises(UserError, match=said):
            main(arguments)
