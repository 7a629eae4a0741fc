"""Figures: all that the data supports, whole files, one look per agent, published means over the same tasks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import matplotlib.colors
import numpy as np
import pandas as pd
import pytest

from agents.roster import PAPER_AGENTS
from analysis import Results, Runs
from analysis.averaging.costs import costs
from analysis.drawing.costs import spread
from analysis.drawing.gallery import drawings, write_figures
from analysis.drawing.reversal import read_reversal
from analysis.drawing.style import looks
from analysis.figures import main
from analysis.names import AGENT_LABELS, TASKS, domain_of
from benchmark.common.errors import UserError


def simulated(agents: list[str], tasks: list[str], seeds: int = 2, points: int = 3) -> Results:
    """Results of runs that grow with their steps, seeded."""
    random = np.random.default_rng(0)
    rows = [
        (agent, task, domain_of(task), seed, 1000 * (i + 1), float(np.clip(random.normal(0.2 * i, 0.1), 0, 1)), task)
        for agent in agents
        for task in tasks
        for seed in range(seeds)
        for i in range(points)
    ]
    frame = pd.DataFrame(rows, columns=["agent", "task", "domain", "seed", "step", "success", "run"])
    return Results(frame.assign(run=frame["agent"] + "/" + frame["task"]))


def with_times(results: Results, **times: object) -> Results:
    """The results with as much of their runs as the cost needs."""
    runs = pd.DataFrame({"run": results.evaluations["run"].unique()})
    return replace(results, runs=Runs(runs=runs.assign(seeds=[(0, 1)] * len(runs), **times)))


QUICKSTART = ["cube-single-play-singletask-task1-v0"]


def test_quickstart_gives_bars_and_curves_as_pdf_and_png(tmp_path: Path) -> None:
    paths = write_figures(simulated(["bc", "fql", "rql"], QUICKSTART), tmp_path)
    assert [path.name for path in paths] == [
        *("bars.pdf", "bars.png", "learning_curves.pdf", "learning_curves.png"),
        "figure_captions.md",
    ]
    assert (tmp_path / "bars.pdf").read_bytes().startswith(b"%PDF")
    assert (tmp_path / "bars.png").read_bytes().startswith(b"\x89PNG")
    assert "2 seeds per task" in (tmp_path / "figure_captions.md").read_text()


@pytest.mark.parametrize(
    ("agents", "tasks", "seeds", "points"),
    [
        (["mine"], ["a-b-singletask-task1-v0"], 1, 1),
        (["x$_{$ <b>", "rql (2)"], ["$odd"], 1, 2),
        (["rql", "fql"], list(TASKS[:2]), 2, 1),
    ],
)
def test_small_and_odd_data_is_drawn(agents: list[str], tasks: list[str], seeds: int, points: int) -> None:
    made = {drawing.name: drawing.png(dpi=40) for drawing in drawings(simulated(agents, tasks, seeds, points))}
    assert {"bars", "learning_curves"} <= set(made)


def test_without_data_there_is_no_figure(tmp_path: Path) -> None:
    assert write_figures(Results(simulated(["rql"], QUICKSTART).evaluations[:0]), tmp_path) == []


def test_many_agents_get_small_multiples_and_every_aggregate() -> None:
    agents = [*PAPER_AGENTS, "bc"]
    results = simulated(agents, [TASKS[0], TASKS[-1]])
    results = with_times(results, train_seconds=3600.0, eval_seconds=0.0, device="gpu: one")
    made = {drawing.name: drawing for drawing in drawings(results, published=True, highlight="fql")}
    assert list(made) == [
        *("bars", "learning_curves_by_agent", "learning_curves_by_domain", "aggregates", "performance_profiles"),
        *("improvement", "improvement_matrix", "cost"),
    ]
    panels = [axis for axis in made["learning_curves_by_agent"].figure.axes if axis.get_visible()]
    assert [panel.get_title() for panel in panels] == [AGENT_LABELS[agent] for agent in agents]
    numbered = [panel.xaxis.get_tick_params()["labelbottom"] for panel in panels]  # where no panel is below
    assert numbered == [False] * (len(agents) - 4) + [True] * 4
    # Bars of many groups of tasks need both columns of a page; what is in one column is at most as high as a page.
    widths = {name: drawing.figure.get_figwidth() for name, drawing in made.items()}
    assert widths.pop("bars") == 6.9 and all(width < 3.4 for width in widths.values())
    assert made["bars"].figure.get_figheight() < 3.5


def test_many_agents_on_one_domain_have_the_whole_width() -> None:
    made = {drawing.name: drawing for drawing in drawings(simulated(PAPER_AGENTS, [TASKS[0]]))}
    assert [axis.get_visible() for axis in made["learning_curves_by_domain"].figure.axes] == [True]


def test_an_agent_looks_the_same_in_every_figure_and_no_two_look_alike() -> None:
    everybody = looks([*AGENT_LABELS, "mine", "rql (2)"])
    few = looks(["rql", "qam", "mine"])
    assert few["rql"] == everybody["rql"] and few["qam"] == everybody["qam"]
    assert len({(look.colour, str(look.dash)) for look in everybody.values()}) == len(everybody)
    assert few["mine"].colour not in (few["rql"].colour, few["qam"].colour)


def test_bars_are_the_means_and_carry_their_values() -> None:
    results = simulated(["fql", "rql"], QUICKSTART)
    drawing, evaluations = next(iter(drawings(results))), results.evaluations
    final = evaluations[evaluations["step"] == 3000].groupby("agent")["success"].mean()
    axis = drawing.figure.axes[0]
    widths = {patch.get_facecolor(): patch.get_width() for patch in axis.patches}
    colours = {agent: look.colour for agent, look in looks(["fql", "rql"]).items()}
    for agent, mean in final.items():
        assert widths[matplotlib.colors.to_rgba(colours[agent])] == pytest.approx(mean)
    assert {text.get_text() for text in axis.texts} == {f"{100 * mean:.0f}" for mean in final}


def test_cost_charges_each_seed_its_share_and_leaves_out_unknown_times() -> None:
    results = simulated(["fql", "rql"], [TASKS[0]])
    times = {"train_seconds": [7200.0, None], "eval_seconds": [3600.0, None], "device": "gpu: one"}
    table = costs(with_times(results, **times))
    assert table.to_dict("records") == [{"agent": "fql", "hours": 1.5, "device": "GPU"}]


def test_labels_are_spread_in_order_within_the_axes() -> None:
    places = spread(np.array([0.9, 0.5, 0.5, 0.49, 0.01]), gap=0.1)
    assert (np.diff(places) <= -0.1 + 1e-12).all() and places.min() >= 0 and places[0] == 0.9


def test_reversal_file_is_drawn_and_checked(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    paths = {name: random.normal(size=(4, 11, 2)) for name in ("forward", "reversed")}
    np.savez(tmp_path / "good.npz", **paths, coordinates=[0, 3], agent="rql", task=TASKS[0])
    main(["--reversal", str(tmp_path / "good.npz"), "--out", str(tmp_path / "out")])
    assert "10 steps at one observation: rql" in (tmp_path / "out" / "figure_captions.md").read_text()
    assert (tmp_path / "out" / "reversal.pdf").stat().st_size > 1000
    np.savez(tmp_path / "flat.npz", forward=paths["forward"], reversed=np.zeros((4, 11)))
    np.savez(tmp_path / "pickled.npz", forward=np.array([object()]), reversed=paths["reversed"])
    (tmp_path / "text.npz").write_text("no zip")
    for name in ("flat", "pickled", "text", "absent"):
        with pytest.raises(UserError, match=name):
            read_reversal(tmp_path / f"{name}.npz")


def rows_of_bars(results: Results, **options: object) -> set[str]:
    """Who has a row in the bars."""
    (bars,) = (drawing for drawing in drawings(results, published=True, **options) if drawing.name == "bars")
    return {text.get_text() for text in bars.figure.axes[0].get_yticklabels()}


@pytest.mark.parametrize("task", ["toy-modes", f"{TASKS[0]} (generated data)"])
def test_an_agent_that_is_drawn_stands_out_where_rql_has_no_figure_on_the_tasks(task: str, tmp_path: Path) -> None:
    results = simulated(["fql"], [task])
    assert rows_of_bars(results) == {"FQL"}
    with pytest.raises(UserError, match=r"unknown agent to highlight 'rql' .*allowed: fql"):
        write_figures(results, tmp_path, published=True, highlight="rql")


def test_an_agent_whose_published_curves_were_imported_is_not_highlighted_as_a_published_one(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="unknown agent to highlight 'fql'"):
        write_figures(simulated(["fql (QAM archive)"], QUICKSTART), tmp_path, published=True, highlight="fql")


def test_only_the_agents_asked_for_are_drawn_be_their_figures_own_or_published(tmp_path: Path) -> None:
    own = simulated(["mine", "rql"], list(TASKS[:5]))
    assert rows_of_bars(own.of_agents(["mine"]), agents=["mine", "fql", "tfql"]) == {"mine", "FQL", "TFQL"}
    main(["--published", "--agents", "tfql,fql", "--out", str(tmp_path)])
    assert "qam: FQL; rql: TFQL." in (tmp_path / "figure_captions.md").read_text()
    with pytest.raises(UserError, match=r"unknown agent 'rqll' .did you mean 'rql'"):
        main(["--published", "--agents", "rqll,fql", "--out", str(tmp_path)])


def test_bad_input_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nothing to draw: give --runs"):
        main(["--out", str(tmp_path)])
    with pytest.raises(UserError, match=r"unknown agent to highlight 'rqll' .did you mean 'rql'"):
        main(["--published", "--highlight", "rqll", "--out", str(tmp_path)])
    with pytest.raises(UserError, match="cannot write to"):
        (tmp_path / "file").write_text("")
        write_figures(simulated(["rql"], QUICKSTART), tmp_path / "file")


def test_imported_curves_have_a_dagger_that_the_caption_explains() -> None:
    both = simulated(["fql", "fql (QAM archive)"], QUICKSTART)
    made = {drawing.name: drawing for drawing in drawings(both)}
    ticks = [text.get_text() for text in made["bars"].figure.axes[0].get_yticklabels()]
    assert sorted(ticks) == ["FQL", "FQL†"]
    assert all("†: QAM archive" in drawing.caption for drawing in made.values())
    alone = {drawing.name: drawing.caption for drawing in drawings(simulated(["fql"], QUICKSTART))}
    assert not any("†" in text for text in alone.values())


@pytest.mark.filterwarnings("error:constrained_layout not applied")
def test_imported_bars_with_published_ones_have_room() -> None:
    imported = simulated([f"{agent} (QAM archive)" for agent in ("fql", "ifql", "qam")], TASKS[:10])
    (bars,) = (drawing for drawing in drawings(imported, published=True) if drawing.name == "bars")
    bars.png()
    ticks = [text.get_text() for text in bars.figure.axes[0].get_yticklabels()]
    # Those that were imported are not there a second time.
    assert "FQL†" in ticks and "FQL" not in ticks and "RQL" in ticks and len(ticks) == 19
