"""Ranks, scatter and sensitivity are what their numbers say, and no figure mixes regimes unless asked to."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis import sweeps
from analysis.averaging.ranks import critical_difference, mean_ranks, not_told_apart
from analysis.averaging.selection import comparable
from analysis.drawing.beside_authors import pairs_of
from analysis.drawing.gallery import drawings, write_figures
from analysis.drawing.scatter import draw_scatter
from analysis.drawing.sensitivity import along, draw_sensitivities, read_sweep, swept
from analysis.figures import main
from analysis.names import TASKS
from analysis.reading.loading import load_runs
from benchmark.common.errors import UserError
from tests.analysis.test_figures import simulated
from tests.analysis.test_regimes import CUBE, run
from tests.helpers.simulated_runs import write_run

SCENE = "scene-play-singletask-task2-v0"


def scores_of(table: dict[str, list[float]]) -> pd.DataFrame:
    """Scores of one seed from {agent: [score a task]}."""
    rows = [(agent, f"t{task}", 0, score) for agent, scores in table.items() for task, score in enumerate(scores)]
    return pd.DataFrame(rows, columns=["agent", "task", "seed", "score"])


# ---- beside the authors' code


def test_what_the_authors_code_made_is_told_from_other_variants() -> None:
    agents = ["fql", "rql", "rql (rql-authors)", "rql (e9)", "rql (e9-authors)", "rql (alpha=3)", "ifql (ifql-authors)"]
    assert pairs_of(agents) == {"rql": "rql (rql-authors)", "rql (e9)": "rql (e9-authors)"}


def test_ours_and_the_authors_curves_are_means_over_the_tasks_and_seeds_that_both_have(tmp_path: Path) -> None:
    def values(seeds: range, gain: float) -> dict[tuple[int, int], float]:
        return {(seed, step): gain + seed / 100 + step / 10_000 for seed in seeds for step in (500, 1000)}

    for task in (CUBE, SCENE):
        write_run(tmp_path / "ours", "fql", task, range(3), values(range(3), 0.1))
    theirs = write_run(tmp_path / "theirs", "fql", CUBE, range(2), values(range(2), 0.3))
    config = json.loads((theirs / "config.json").read_text())
    (theirs / "config.json").write_text(json.dumps(config | {"label": "fql-authors"}))
    write_run(tmp_path, "rql", CUBE)
    found = [figure for figure in drawings(comparable(load_runs(tmp_path))) if figure.name == "beside_authors"]
    success, returns = (axis for axis in found[0].figure.axes if axis.get_visible())
    thick = [line.get_ydata() for line in success.lines if line.get_linewidth() > 1]
    assert [list(line) for line in thick] == [pytest.approx([0.16, 0.21]), pytest.approx([0.355, 0.405])]
    assert len(success.lines) == 2 + 3 + 2 and success.get_title() == "FQL" and returns.get_ylabel() == "return"


# ---- ranks


def test_ranks_are_by_task_and_ties_share_theirs() -> None:
    table = mean_ranks(scores_of({"a": [0.9, 0.5, 0.1], "b": [0.5, 0.5, 0.3], "c": [0.1, 0.1, 0.2]}))
    assert dict(zip(table["agent"], table["rank"], strict=True)) == pytest.approx({"b": 1.5, "a": 5.5 / 3, "c": 8 / 3})
    assert list(table["agent"]) == ["b", "a", "c"] and (table["tasks"] == 3).all()
    assert (table["low"] >= 1).all() and (table["high"] <= 3).all() and (table["low"] <= table["rank"]).all()


def test_an_agent_that_lacks_a_task_has_no_rank() -> None:
    scores = scores_of({"a": [0.9, 0.5], "b": [0.5, 0.4]})
    with pytest.raises(ValueError, match="lacks a task"):
        mean_ranks(scores.iloc[:-1])


@pytest.mark.parametrize(("agents", "quantile"), [(2, 1.960), (3, 2.343), (5, 2.728), (10, 3.164)])
def test_critical_differences_are_those_of_the_published_table(agents: int, quantile: float) -> None:
    # Demšar, JMLR 7 (2006), table 5(a), times the root of k (k + 1) / 6 N.
    assert critical_difference(agents, 14) == pytest.approx(quantile * np.sqrt(agents * (agents + 1) / 84), abs=1e-3)


def test_only_the_largest_groups_of_agents_that_are_not_told_apart_are_joined() -> None:
    assert not_told_apart(np.array([1.0, 1.5, 2.2, 4.0]), 0.8) == [(0, 1), (1, 2)]
    assert not_told_apart(np.array([1.0, 1.2, 1.4, 4.0]), 0.8) == [(0, 2)]
    assert not_told_apart(np.array([1.0, 3.0]), 0.8) == []


def test_ranks_are_drawn_from_three_agents_and_ten_tasks_on() -> None:
    made = {d.name: d for d in drawings(simulated(["rql", "fql", "ifql"], list(TASKS[:10])))}
    axis = made["ranks"].figure.axes[0]
    assert {text.get_text() for text in axis.get_yticklabels()} == {"RQL", "FQL", "IFQL"}
    assert "critical difference" in made["ranks"].caption and made["ranks"].png(dpi=40)
    assert "ranks" not in {d.name for d in drawings(simulated(["rql", "fql"], list(TASKS[:10])))}


# ---- scatter


def test_scatter_has_a_point_a_task_with_intervals_both_ways() -> None:
    results = simulated(["rql", "fql"], list(TASKS[:7]), seeds=4)
    drawing = draw_scatter(results, "fql", "rql")
    means = results.scores.groupby(["agent", "task"])["score"].mean()
    lines = [line for line in drawing.figure.axes[0].lines if line.get_marker() in "os"]
    points = {(round(x, 6), round(y, 6)) for line in lines for x, y in line.get_xydata()}
    assert points == {(round(means["fql", task], 6), round(means["rql", task], 6)) for task in TASKS[:7]}
    assert len(drawing.figure.axes[0].collections) == 2  # intervals each way: all these tasks are mazes
    assert "on 7 tasks" in drawing.caption and drawing.png(dpi=40)


def test_scatter_of_two_regimes_is_refused_with_the_reason_unless_asked_for(tmp_path: Path) -> None:
    run(tmp_path, "rql")
    run(tmp_path, "fql", steps=2_000_000)
    results = comparable(load_runs(tmp_path))
    with pytest.raises(UserError, match="different regimes: updates 2,000,000 against 1,000,000"):
        draw_scatter(results, "fql", "rql")
    drawing = draw_scatter(results, "fql", "rql", across=True)
    assert "¶" in drawing.figure.axes[0].get_xlabel() and "¶ Of different regimes" in drawing.caption


def test_scatter_names_what_is_wrong_in_a_line(tmp_path: Path) -> None:
    results = simulated(["rql", "fql"], list(TASKS[:2]))
    with pytest.raises(UserError, match="did you mean 'rql'"):
        draw_scatter(results, "rqll", "fql")
    with pytest.raises(UserError, match="two agents with a comma"):
        main(["--published", "--scatter", "rql", "--out", str(tmp_path)])


# ---- sensitivity


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    """Four settings of FQL on two domains; alpha=1 is best in scene, alpha=3 in cube, expectile=0.9 in both."""
    for alpha in (1.0, 3.0):
        for expectile in (0.7, 0.9):
            for task, best in ((SCENE, 1.0), (CUBE, 3.0)):
                success = 0.2 + 0.4 * (alpha == best) + 0.1 * (expectile == 0.9)
                values = {(seed, at): success + 0.01 * (seed - 1000) for seed in (1000, 1001) for at in (500, 1000)}
                place = tmp_path / "tuning" / f"alpha={alpha:g},expectile={expectile:g}"
                settings = {"alpha": alpha, "expectile": expectile, "discount": 0.99, "hidden": [8], "chunk_length": 5}
                write_run(place, "fql", task, (1000, 1001), values, hyperparameters=settings)
    return tmp_path


def test_a_sweeps_runs_are_read_by_seed_and_setting(sweep: Path) -> None:
    table, regimes = read_sweep(sweep)
    assert len(table) == 4 * 2 * 2 and swept(table) == ["alpha", "expectile"] and list(regimes) == ["fql"]
    line = along(table[table["task"] == CUBE], "alpha", ["alpha", "expectile"])
    assert line["value"].tolist() == [1.0, 3.0] and line["best"].tolist() == [False, True]
    assert line["mean"].tolist() == pytest.approx([0.305, 0.705]) and line["scores"][1] == pytest.approx((0.7, 0.71))


def flat(sweep: Path, early: float = 0.5) -> Path:
    """The sweep with 0.5 as the success of all settings at the end, and before it too, but `early` of alpha=3."""
    for path in sweep.rglob("eval.csv"):
        header, *rows = (line.split(",") for line in path.read_text().splitlines())
        for row in rows:
            row[3] = str(early if row[0] == "500" and "alpha=3" in str(path) else 0.5)
        path.write_text("\n".join(",".join(row) for row in [header, *rows]) + "\n")
    return sweep


def best_alpha(sweep: Path) -> list[float]:
    """The value of alpha that is filled in the cube's line."""
    table, _ = read_sweep(sweep)
    line = along(table[table["task"] == CUBE], "alpha", ["alpha", "expectile"])
    return line["value"][line["best"]].tolist()


@pytest.mark.parametrize(("early", "alpha"), [(0.5, 1.0), (0.9, 3.0), (0.1, 1.0)])
def test_the_best_setting_of_several_with_one_final_success_is_the_sweeps(
    sweep: Path, early: float, alpha: float
) -> None:
    flat(sweep, early)
    runs = [path.parent for path in sorted(sweep.rglob("config.json")) if CUBE in path.parts]
    names = ["alpha", "expectile"]
    assert sweeps.best(sweeps.scores(runs, names), names)["alpha"] == alpha and best_alpha(sweep) == [alpha]


def test_a_tie_is_the_earlier_settings_of_those_that_the_sweep_lists(sweep: Path) -> None:
    flat(sweep)
    runs = [path.parent for path in sorted(sweep.rglob("config.json"), reverse=True) if CUBE in path.parts]
    names = ["alpha", "expectile"]
    found = sweeps.scores(runs, names)
    sweeps.write_scores(found, names, sweep / "tuned", "fql-cube-double-play")
    assert sweeps.best(found, names)["alpha"] == 3.0 and best_alpha(sweep) == [3.0]


def test_sensitivity_has_a_panel_a_hyperparameter_and_a_line_a_domain(sweep: Path) -> None:
    (drawing,) = draw_sensitivities(sweep)
    panels = [axis for axis in drawing.figure.axes if axis.get_visible()]
    assert [axis.get_xlabel() for axis in panels] == ["alpha", "expectile"]
    lines = {line.get_label(): line.get_ydata() for line in panels[0].lines if not line.get_label().startswith("_")}
    assert set(lines) == {"scene", "cube-double", "mean"}
    assert lines["mean"] == pytest.approx([(0.705 + 0.305) / 2, (0.305 + 0.705) / 2])
    assert drawing.name == "sensitivity_fql" and drawing.png(dpi=40) and "2 tuning seeds" in drawing.caption


def test_there_is_no_mean_over_domains_of_several_regimes_unless_asked_for(sweep: Path) -> None:
    for path in sweep.rglob(f"{SCENE}/*/provenance.json"):
        path.write_text(path.read_text().replace('"transitions": 1000', '"transitions": 100000000'))
    for across, there in ((False, False), (True, True)):
        (drawing,) = draw_sensitivities(sweep, across)
        labels = [line.get_label() for line in drawing.figure.axes[0].lines]
        assert ("mean ¶" in labels) is there and "mean" not in labels and "several regimes" in drawing.caption


def test_a_folder_without_a_sweep_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"there is no folder '.*tuning'"):
        main(["--sweep", str(tmp_path), "--out", str(tmp_path / "out")])
    (tmp_path / "tuning").mkdir()
    with pytest.raises(UserError, match="no finished run"):
        main(["--sweep", str(tmp_path), "--out", str(tmp_path / "out")])


# ---- regimes


@pytest.fixture
def two(tmp_path: Path):
    """RQL and FQL at 1M updates, IFQL at 2M, on two tasks."""
    for task in TASKS[35:37]:
        run(tmp_path, "rql", task)
        run(tmp_path, "fql", task)
        run(tmp_path, "ifql", task, steps=2_000_000)
    return comparable(load_runs(tmp_path))


def test_each_regime_has_figures_of_its_own_and_the_reason(two) -> None:
    made = {drawing.name: drawing for drawing in drawings(two)}
    assert "learning_curves_qam" in made and "learning_curves_rql" in made and "learning_curves" not in made
    assert "aggregates_qam" in made and "aggregates_rql" not in made  # one agent alone is compared with nothing
    assert all("differ for other reasons than the agents" in drawing.caption for drawing in made.values())


def test_figures_of_regimes_whose_names_begin_alike_are_files_of_their_own(tmp_path: Path) -> None:
    for agent, chunk in (("rql", 5), ("fql", 5), ("ifql", 10), ("qam", 10)):
        run(tmp_path / "runs", agent, steps=3_000_000, chunk=chunk, hidden=[1024] * 6)
    paths = write_figures(comparable(load_runs(tmp_path / "runs")), tmp_path / "out")
    assert len({path.name for path in paths}) == len(paths)
    captions = (tmp_path / "out" / "figure_captions.md").read_text()
    names = [line.split("**")[1] for line in captions.splitlines()]
    assert len([name for name in names if name.startswith("learning_curves")]) == 2 and len(set(names)) == len(names)


def of_two_regimes(folder: Path):
    """RQL and FQL, each at 1M updates on one task and at 2M on another one of the same domain."""
    for agent in ("rql", "fql"):
        run(folder, agent, TASKS[35])
        run(folder, agent, TASKS[36], steps=2_000_000)
    return comparable(load_runs(folder))


def on_two_kinds_of_data(folder: Path):
    """RQL and FQL on one task, on its published data and on generated ones."""
    for agent in ("rql", "fql"):
        run(folder / "published", agent)
        run(folder / "generated", agent, source="generated")
    return comparable(load_runs(folder))


@pytest.mark.parametrize("made", [of_two_regimes, on_two_kinds_of_data])
def test_tasks_of_several_regimes_of_one_agent_are_averaged_in_no_figure(tmp_path: Path, made) -> None:
    bars, curves = drawings(made(tmp_path))
    assert bars.name == "bars" and {text.get_text() for text in bars.figure.axes[0].texts} == {"–"}
    assert "tasks of several regimes are not averaged" in bars.caption
    # A panel a task averages nothing over tasks.
    panels = [axis for axis in curves.figure.axes if axis.get_visible()]
    assert curves.name.startswith("learning_curves_several-regimes") and len(panels) == 2
    assert "several regimes" in curves.caption


@pytest.mark.parametrize("made", [of_two_regimes, on_two_kinds_of_data])
def test_across_regimes_tasks_of_several_are_averaged_and_marked(tmp_path: Path, made) -> None:
    found = {drawing.name: drawing for drawing in drawings(made(tmp_path), across=True)}
    assert {"bars", "learning_curves", "aggregates", "cost"} <= found.keys()
    assert all("¶" in drawing.caption for drawing in found.values())
    assert "¶" in found["bars"].figure.axes[0].get_ylabel()
    assert "–" not in {text.get_text() for text in found["bars"].figure.axes[0].texts}


def test_bars_are_ordered_within_regimes_with_a_line_between(two) -> None:
    bars = next(iter(drawings(two, published=True)))
    names = [text.get_text() for text in bars.figure.axes[0].get_yticklabels()]
    # Own RQL and FQL are of `qam`, as the published baselines; IFQL of 2M updates stands alone below the line.
    assert names[-1] == "IFQL" and {"RQL", "FQL", "QAM"} < set(names[:-1])
    lines = [line.get_ydata() for line in bars.figure.axes[0].lines if list(line.get_xdata()) == [0, 1]]
    assert lines == [[len(names) - 1.5] * 2] and "a line is between them" in bars.caption


def test_across_regimes_all_are_in_the_same_figures_marked(two) -> None:
    made = {drawing.name: drawing for drawing in drawings(two, across=True)}
    assert "aggregates" in made and not any(name.endswith(("_qam", "_rql")) for name in made)
    assert all("¶" in drawing.caption for drawing in made.values())
    assert made["aggregates"].figure.get_suptitle() == "¶ of several regimes"
