"""Statistics: equal to rliable's and scipy's where those apply, right where they do not."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import bootstrap, trim_mean, ttest_1samp, ttest_ind

from analysis.averaging.statistics import (
    _Draws,
    aggregate,
    caption,
    domain_means,
    expanded_percentiles,
    final_scores,
    learning_curves,
    near_best,
    overall_means,
    performance_profiles,
    probability_of_improvement,
    task_means,
)
from benchmark.common.errors import UserError
from tests.helpers.mean_intervals import of_made, of_middle_half

# Made once with rliable in an environment of its own; the file says with which versions and calls.
RLIABLE = json.loads((Path(__file__).parents[1] / "data" / "rliable.json").read_text())


def frame(scores: dict[str, list[list[float]]]) -> pd.DataFrame:
    """Scores frame from {agent: [[score of seed 0, seed 1, ...] per task]}."""
    return pd.DataFrame(
        [
            (agent, f"d{t // 5}-singletask-task{t % 5 + 1}-v0", f"d{t // 5}", seed, score, 1000)
            for agent, tasks in scores.items()
            for t, seeds in enumerate(tasks)
            for seed, score in enumerate(seeds)
        ],
        columns=["agent", "task", "domain", "seed", "score", "step"],
    )


def curve(points: dict[tuple[str, int, int], float], agent: str = "a") -> pd.DataFrame:
    """Evaluations frame from {(task, seed, step): success}."""
    rows = [(agent, task, "d", seed, step, success) for (task, seed, step), success in points.items()]
    return pd.DataFrame(rows, columns=["agent", "task", "domain", "seed", "step", "success"])


@pytest.mark.parametrize("agent", ["x", "y"])
@pytest.mark.parametrize("statistic", ["mean", "iqm", "optimality_gap"])
def test_aggregates_agree_with_rliable(agent: str, statistic: str) -> None:
    table = aggregate(frame(RLIABLE["scores"]), [statistic], repetitions=20_000, interval="percentile")
    row = table.set_index("agent").loc[agent]
    expected = RLIABLE["aggregates"][agent][statistic]
    assert row["value"] == pytest.approx(expected[0], abs=1e-12)
    assert [row["low"], row["high"]] == pytest.approx(expected[1:], abs=1.5e-3)


def test_probability_of_improvement_agrees_with_rliable() -> None:
    scores = frame(RLIABLE["scores"])
    made = probability_of_improvement(scores, [("x", "y")], repetitions=20_000, interval="percentile").iloc[0]
    value, low, high = RLIABLE["probability_of_improvement"]
    assert made["value"] == pytest.approx(value, abs=1e-12)
    # rliable's own interval was made with 2,000 repetitions only, which leave it +-0.005.
    assert [made["low"], made["high"]] == pytest.approx([low, high], abs=8e-3)
    assert made["tasks"] == 6


@pytest.mark.parametrize("agent", ["x", "y"])
def test_performance_profiles_agree_with_rliable(agent: str) -> None:
    scores = frame(RLIABLE["scores"])
    made = performance_profiles(scores, RLIABLE["thresholds"], repetitions=20_000, interval="percentile")
    made = made[made["agent"] == agent]
    expected = RLIABLE["profiles"][agent]
    assert made["fraction"].to_numpy() == pytest.approx(expected["fraction"], abs=1e-12)
    # A profile of 48 scores moves in steps of 1/48: the percentile may fall on the neighbouring step.
    for side in ("low", "high"):
        assert made[side].to_numpy() == pytest.approx(expected[side], abs=1 / 48 + 1e-9)
    assert np.mean(np.abs(made["low"].to_numpy() - expected["low"])) < 0.01


def test_interquartile_mean_agrees_with_scipys_stratified_bootstrap() -> None:
    scores = np.array(RLIABLE["scores"]["x"])
    made = aggregate(frame({"x": scores.tolist()}), ["iqm"], repetitions=20_000, interval="percentile").iloc[0]

    def iqm(*tasks: np.ndarray, axis: int = -1) -> np.ndarray:
        return trim_mean(np.concatenate(tasks, axis=axis), 0.25, axis=axis)

    reference = bootstrap(
        tuple(scores), iqm, n_resamples=20_000, method="percentile", rng=np.random.default_rng(1)
    ).confidence_interval
    assert [made["low"], made["high"]] == pytest.approx([reference.low, reference.high], abs=2e-3)


def spread(means: list[float], counts: list[int], within: float) -> list[list[float]]:
    """Scores of tasks with such means and numbers of seeds, `within` about them."""
    random = np.random.default_rng(0)
    return [np.clip(random.normal(m, within, n), 0, 1).tolist() for m, n in zip(means, counts, strict=True)]


@pytest.mark.parametrize("interval", ["corrected", "percentile"])
@pytest.mark.parametrize("within", [0.0, 0.01, 0.1])
@pytest.mark.parametrize("counts", [[4, 3], [3, 4, 4, 3, 4], [2, 12, 2], [4, 3] * 10])
def test_an_aggregate_lies_within_its_interval_where_tasks_have_other_numbers_of_seeds(
    counts: list[int], within: float, interval: str
) -> None:
    means = np.random.default_rng(1).random(len(counts)).tolist()
    for row in aggregate(frame({"a": spread(means, counts, within)}), interval=interval).itertuples():
        assert row.low - 1e-9 <= row.value <= row.high + 1e-9, row


def test_a_task_weighs_by_its_seeds_in_the_interval_of_the_optimality_gap_too() -> None:
    gap = aggregate(frame({"a": [[0.0] * 4, [1.0] * 3]}), ["optimality_gap"]).iloc[0]
    assert [gap["value"], gap["low"], gap["high"]] == pytest.approx([4 / 7] * 3)


@pytest.mark.parametrize("seeds", [2, 3, 4, 12])
def test_draws_are_trimmed_by_the_share_that_the_scores_are(seeds: int) -> None:
    constant = [[value] * seeds for value in (0.0, 0.1, 0.5, 0.9, 1.0, 0.2, 0.3)]
    row = aggregate(frame({"a": constant}), ["iqm"]).iloc[0]
    assert [row["low"], row["high"]] == pytest.approx([row["value"]] * 2)


def test_with_as_many_seeds_a_task_aggregates_are_of_scipys_trimmed_mean() -> None:
    tasks = np.random.default_rng(2).integers(0, 51, (5, 4)) / 50
    made = aggregate(frame({"a": tasks.tolist()}), ["iqm", "optimality_gap"]).set_index("statistic")
    draws = _Draws("corrected", 2000, 0)
    names = frame({"a": tasks.tolist()})["task"].unique()
    pooled = np.concatenate([v[draws.seeds("a", name, 4)] for name, v in zip(names, tasks, strict=True)], axis=1)
    pooled = np.repeat(pooled, 4, axis=1)  # a quarter of 15 draws is no whole number, of 60 it is
    for name, function in (("iqm", lambda x: trim_mean(x, 0.25, axis=1)), ("optimality_gap", lambda x: 1 - x.mean(1))):
        expected = [*function(tasks.ravel()[None]), *expanded_percentiles(function(pooled), 15)]
        assert made.loc[name, ["value", "low", "high"]].tolist() == pytest.approx(expected, abs=1e-12)


def test_every_task_weighs_the_same_in_a_mean_whatever_its_seeds() -> None:
    scores = frame({"a": [[0.0] * 9, [1.0, 1.0]]})
    assert overall_means(scores).iloc[0]["mean"] == pytest.approx(0.5)
    assert overall_means(scores).iloc[0]["seeds"] == 2
    mean = aggregate(scores, ["mean"]).iloc[0]
    assert (mean["value"], mean["seeds"], mean["tasks"]) == (pytest.approx(0.5), 2, 2)
    profile = performance_profiles(scores, [0.5]).iloc[0]
    assert profile["fraction"] == pytest.approx(2 / 11)
    assert (profile["low"], profile["high"]) == (pytest.approx(2 / 11), pytest.approx(2 / 11))


@pytest.mark.parametrize("interval", ["corrected", "percentile"])
def test_mean_over_tasks_has_one_value_and_one_interval_by_either_way(interval: str) -> None:
    scores = frame({"a": np.random.default_rng(3).random((7, 4)).tolist()})
    first = overall_means(scores, interval=interval).iloc[0]
    second = aggregate(scores, ["mean"], interval=interval).iloc[0]
    assert (first["mean"], first["low"], first["high"]) == pytest.approx(
        (second["value"], second["low"], second["high"])
    )


@pytest.mark.parametrize("interval", ["corrected", "percentile"])
def test_interval_of_a_mean_has_the_width_that_theory_gives(interval: str) -> None:
    values = np.random.default_rng(0).normal(0.5, 0.1, size=400)
    row = task_means(frame({"a": [values.tolist()]}), repetitions=5000, interval=interval).iloc[0]
    half = 1.96 * values.std() / 20
    assert row["mean"] == pytest.approx(values.mean())
    assert row["high"] - row["mean"] == pytest.approx(half, rel=0.1)
    assert row["mean"] - row["low"] == pytest.approx(half, rel=0.1)


@pytest.mark.parametrize(("interval", "of_two"), [("corrected", (0.0, 1.0)), ("percentile", (0.2, 0.8))])
def test_one_seed_has_no_interval_and_two_seeds_have_students_or_their_range(
    interval: str, of_two: tuple[float, float]
) -> None:
    means = task_means(frame({"a": [[0.4], [0.2, 0.8]]}), interval=interval)
    assert np.isnan(means.iloc[0]["low"]) and np.isnan(means.iloc[0]["high"])
    assert (means.iloc[1]["low"], means.iloc[1]["high"]) == of_two


def test_the_interval_of_one_task_is_scipys_of_students_test() -> None:
    values = [0.42, 0.5, 0.56, 0.48]
    row = task_means(frame({"a": [values]})).iloc[0]
    expected = ttest_1samp(values, 0).confidence_interval(0.95)
    assert (row["low"], row["high"]) == pytest.approx((expected.low, expected.high))


def test_the_interval_of_a_difference_of_tasks_is_scipys_of_welchs_test() -> None:
    # The mean of x and of 1 - y is half of their difference, and a half: Welch's test has the same degrees of freedom.
    x, y = np.array([0.42, 0.5, 0.56, 0.48]), np.array([0.3, 0.4, 0.36, 0.32, 0.5, 0.41])
    row = overall_means(frame({"a": [x.tolist(), (1 - y).tolist()]})).iloc[0]
    expected = ttest_ind(x, y, equal_var=False).confidence_interval(0.95)
    assert (row["low"], row["high"]) == pytest.approx((0.5 + expected.low / 2, 0.5 + expected.high / 2))


def test_intervals_end_where_success_does_unless_scores_are_not_bounded() -> None:
    scores = frame({"a": [[0.9, 1.0, 0.95]]})
    assert task_means(scores).iloc[0]["high"] == 1.0
    assert task_means(scores, bounded=False).iloc[0]["high"] > 1.0


def test_seeds_that_are_all_the_same_have_a_point() -> None:
    row = overall_means(frame({"a": [[0.1] * 3, [0.7] * 3]})).iloc[0]
    assert (row["low"], row["high"]) == (row["mean"], row["mean"])


@pytest.mark.parametrize(("tasks", "seeds", "least"), [(5, 4, 0.93), (50, 4, 0.93), (50, 2, 0.93), (1, 4, 0.90)])
def test_a_95_percent_interval_holds_the_true_mean_that_often(tasks: int, seeds: int, least: float) -> None:
    assert of_made(tasks, seeds, 1000, "corrected") > least


def test_the_interval_of_the_interquartile_mean_holds_it_oftener_than_the_plain_one() -> None:
    corrected, plain = (of_middle_half(20, 4, 60, kind) for kind in ("corrected", "percentile"))
    assert corrected >= 0.92 and corrected > plain


def test_an_interval_does_not_depend_on_what_else_is_in_the_frame() -> None:
    scores = frame({name: np.random.default_rng(i).random((6, 5)).tolist() for i, name in enumerate("abc")})
    of_b = scores[scores["agent"] == "b"]
    for how in ({"interval": "corrected"}, {"interval": "percentile"}):
        alone = domain_means(of_b, **how).reset_index(drop=True)
        among = domain_means(scores[::-1], **how)
        pd.testing.assert_frame_equal(alone, among[among["agent"] == "b"].reset_index(drop=True))
    other = domain_means(of_b, seed=1, interval="percentile")
    assert not np.allclose(other["low"], alone["low"])


def test_domain_means_say_how_many_tasks_they_cover() -> None:
    means = domain_means(frame({"a": [[0.1, 0.3]] * 6}))
    assert means[["domain", "tasks"]].to_numpy().tolist() == [["d0", 5], ["d1", 1]]


def test_final_score_is_the_last_evaluation_or_the_mean_of_the_last_three() -> None:
    points = {
        ("t", seed, step): success + seed / 10
        for step, success in zip((10, 20, 30, 40), (0.9, 0.1, 0.2, 0.6), strict=True)
        for seed in (0, 1)
    }
    assert final_scores(curve(points))["score"].tolist() == pytest.approx([0.6, 0.7])
    assert final_scores(curve(points), last=3)["score"].tolist() == pytest.approx([0.3, 0.4])


@pytest.mark.parametrize("last", [1, 3])
def test_a_seed_that_lacks_a_last_evaluation_is_refused_by_name(last: int) -> None:
    points = {("t", seed, step): 0.5 for step in (10, 20, 30) for seed in (0, 7)}
    del points["t", 7, 30]
    with pytest.raises(UserError, match="a on t: seed 7 was not evaluated"):
        final_scores(curve(points), last)


def test_fewer_evaluations_than_asked_for_are_refused() -> None:
    with pytest.raises(UserError, match="of 3 asked for"):
        final_scores(curve({("t", 0, 10): 0.5, ("t", 0, 20): 0.5}), last=3)


def test_a_seed_that_is_there_twice_is_refused() -> None:
    evaluations = curve({("t", 0, 10): 0.5, ("t", 1, 10): 0.5})
    doubled = pd.concat([evaluations, evaluations])
    for function in (final_scores, learning_curves):
        with pytest.raises(UserError, match="more than once"):
            function(doubled)


def test_learning_curves_average_only_over_steps_that_all_seeds_have() -> None:
    points = {("t", 0, 10): 0.2, ("t", 1, 10): 0.4, ("t", 0, 20): 0.9, ("u", 0, 10): 0.6, ("u", 0, 20): 1.0}
    by_task = learning_curves(curve(points)).set_index(["task", "step"])["mean"]
    assert by_task.to_dict() == pytest.approx({("t", 10): 0.3, ("u", 10): 0.6, ("u", 20): 1.0})
    overall = learning_curves(curve(points), "overall")
    assert overall[["step", "mean", "tasks"]].to_numpy().tolist() == [[10, pytest.approx(0.45), 2]]


def test_tasks_without_an_evaluation_step_in_common_have_no_curve_and_the_others_theirs() -> None:
    points = {(task, seed, step): 0.5 for task, step in (("t", 10), ("u", 20)) for seed in (0, 1)}
    other = curve({("t", 0, 10): 0.2, ("u", 0, 10): 0.4}, agent="b")
    found = learning_curves(pd.concat([curve(points), other]), "overall")
    assert found[["agent", "step", "mean"]].to_numpy().tolist() == [["b", 10, pytest.approx(0.3)]]
    assert len(learning_curves(curve(points), "overall")) == 0


def test_a_curves_seeds_are_drawn_as_wholes() -> None:
    points = {("t", seed, step): seed / 10 for seed in range(5) for step in range(4)}
    curves = learning_curves(curve(points))
    assert curves["low"].nunique() == 1 and curves["high"].nunique() == 1


def test_probability_of_improvement_counts_a_tie_half_and_uses_common_tasks_only() -> None:
    made = probability_of_improvement(frame({"a": [[0.5, 0.5]], "b": [[0.5, 0.1], [1.0, 1.0]]}))
    values = made.set_index(["x", "y"])
    assert values.loc[("a", "b"), "value"] == pytest.approx(0.75)
    assert values.loc[("b", "a"), "value"] == pytest.approx(0.25)
    assert values.loc[("a", "b"), "tasks"] == 1


def test_bold_is_within_95_percent_of_the_best_with_ties() -> None:
    assert near_best([100, 95, 94.99, 100, float("nan")]).tolist() == [True, True, False, True, False]
    assert near_best([0.20, 0.19, 0.18]).tolist() == [True, True, False]
    assert near_best([0, 0]).tolist() == [False, False]
    assert near_best([float("nan")]).tolist() == [False]
    assert near_best([10, 9], percent=90).tolist() == [True, True]


def test_caption_says_aggregation_seeds_and_interval() -> None:
    text = caption(3, frame({"a": [[0.1] * 4, [0.1] * 12]}))
    assert "mean of the last 3 evaluations" in text and "4 to 12 seeds" in text and "bootstrap" in text
    assert "no interval" in caption(1, frame({"a": [[0.1]]}))
    assert "Student's" in text and "two seeds these say little" in caption(1, frame({"a": [[0.1, 0.2]]}))


def test_empty_frames_give_empty_results() -> None:
    scores = frame({"a": [[0.5]]}).iloc[:0]
    for function in (task_means, domain_means, overall_means, aggregate, performance_profiles):
        assert len(function(scores)) == 0
    assert len(probability_of_improvement(scores)) == 0
