"""What a reader of a figure sees: percent, markers, caps, named axes, whole labels, averages over the same tasks."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb

from analysis import Results
from analysis.drawing.gallery import drawings
from analysis.drawing.heat_maps import draw_heat_map
from analysis.drawing.style import Drawing, styled
from analysis.names import AGENT_LABELS, GENERATED, TASKS
from tests.analysis.test_figures import QUICKSTART, simulated, with_times


def drawn(results: Results, **options: Any) -> dict[str, Drawing]:
    """Every figure by its name, with a run's cost in it."""
    seconds = 7200.0 * np.arange(1, results.evaluations["run"].nunique() + 1)
    results = with_times(results, train_seconds=seconds, eval_seconds=0.0, device="cpu: one")
    made = {drawing.name: drawing for drawing in drawings(results, **options)}
    for drawing in made.values():
        with styled():
            drawing.figure.draw_without_rendering()  # The layout is made only then.
    return made


def together(*parts: Results) -> Results:
    """The results in one."""
    return Results(pd.concat([part.evaluations for part in parts]))


def shown(drawing: Drawing) -> list[Axes]:
    """The panels that are seen."""
    return [axis for axis in drawing.figure.axes if axis.get_visible()]


def test_curves_of_single_seeds_leave_no_room_for_a_band_that_is_not_drawn() -> None:
    results = simulated(["rql"], [TASKS[0]])
    low = results.evaluations["success"].where(results.evaluations["seed"] == 0, 0.0).clip(upper=0.3)
    (axis,) = shown(drawn(Results(results.evaluations.assign(success=low)))["learning_curves"])
    assert axis.get_ylim()[1] <= 1.15 * 0.3 + 1e-9


def test_every_axis_of_success_is_in_percent_and_says_so() -> None:
    made = drawn(simulated(["fql", "rql", "bc"], list(TASKS[:2])))
    labels = {
        "bars": shown(made["bars"])[0].get_xlabel(),
        "learning_curves": shown(made["learning_curves"])[0].get_ylabel(),
        "aggregates": shown(made["aggregates"])[0].get_title(),
        "performance_profiles": shown(made["performance_profiles"])[0].get_xlabel(),
        "improvement": shown(made["improvement"])[0].get_xlabel(),
        "improvement_matrix": shown(made["improvement_matrix"])[1].get_ylabel(),
        "cost": shown(made["cost"])[0].get_ylabel(),
    }
    assert set(labels) == set(made) and all("%" in label for label in labels.values()), labels
    ticks = [float(text.get_text()) for text in shown(made["performance_profiles"])[0].get_xticklabels()]
    assert max(ticks) == 100


def test_a_curve_has_a_marker_at_each_evaluation_and_thin_lines() -> None:
    made = drawn(simulated(["fql", "rql"], QUICKSTART, points=2))
    lines = shown(made["learning_curves"])[0].get_lines()
    assert len(lines) == 6 and all(line.get_marker() in ("o", ".") for line in lines)
    assert max(line.get_linewidth() for line in lines) <= 1


@pytest.mark.parametrize("others", [["rql"], list(AGENT_LABELS)[:7], []])
def test_an_agent_whose_tasks_have_no_evaluation_step_in_common_is_named_where_its_curve_would_be(
    others: list[str],
) -> None:
    tasks = list(TASKS[:7])
    apart = simulated(["mine"], tasks).evaluations
    shift = 100 * apart["task"].map(tasks.index)
    results = together(
        *([simulated(others, tasks)] if others else []), Results(apart.assign(step=apart["step"] + shift))
    )
    made = {name: drawing.caption for name, drawing in drawn(results).items() if name.startswith("learning_curves")}
    said = "Left out, as their tasks have no evaluation step in common: mine"
    assert made and all(said in caption for caption in made.values()), made
    assert len(made) == (2 if len(others) > 1 else 1)


def test_intervals_of_bars_end_in_caps_and_a_single_seed_has_none() -> None:
    caps = [
        line for line in shown(drawn(simulated(["fql"], QUICKSTART))["bars"])[0].get_lines() if len(line.get_xdata())
    ]
    assert [line.get_marker() for line in caps] == ["|", "|"] and all(line.get_markersize() > 3 for line in caps)
    one_seed = simulated(["fql"], QUICKSTART, seeds=1)
    assert [line for line in shown(drawn(one_seed)["bars"])[0].get_lines() if len(line.get_xdata())] == []


@pytest.mark.parametrize("agents", [["fql", "rql"], list(AGENT_LABELS), ["awr_flow (beta=10 learning_rate=0.0003)"]])
def test_the_cost_figure_names_its_axis_and_nothing_is_cut_off(agents: list[str]) -> None:
    cost = drawn(simulated(agents, QUICKSTART))["cost"]
    (axis,) = shown(cost)
    assert axis.get_xlabel() == "CPU hours per seed and task"
    assert len([t for t in axis.get_xticks() if axis.get_xlim()[0] <= t <= axis.get_xlim()[1]]) >= 1
    page = cost.figure.bbox
    for text in [*axis.texts, axis.xaxis.label, axis.yaxis.label, *axis.get_xticklabels()]:
        box = text.get_window_extent()
        assert page.x0 <= box.x0 and box.x1 <= page.x1 and page.y0 <= box.y0 and box.y1 <= page.y1, text.get_text()
    places = sorted(
        (text.get_window_extent() for text in axis.get_xticklabels() if text.get_text()), key=lambda b: b.x0
    )
    assert all(left.x1 <= right.x0 for left, right in itertools.pairwise(places))


def test_heat_maps_have_a_title_and_even_colours() -> None:
    matrix = shown(drawn(simulated(["fql", "rql"], list(TASKS[:2])))["improvement_matrix"])[0]
    grid = [{"alpha": a, "expectile": e, "final": a * e, "course": 0.5} for a in (0.1, 0.9) for e in (0.1, 0.9)]
    found = pd.DataFrame(grid).assign(agent="rql", task=TASKS[0], spread=0.0, seeds=2, updates=1000)
    sweep = draw_heat_map(found, ["alpha", "expectile"], "x", {"alpha": 0.9, "expectile": 0.9}).figure
    assert "improvement" in matrix.get_title()
    assert sweep.get_suptitle() == "RQL on antmaze-large task 1\nsuccess after 1,000 updates, 2 tuning seeds"
    colours = sweep.axes[0].images[0].get_cmap()(np.linspace(0, 1, 64))[:, :3]
    lightness = np.diff([0.2126 * r**2.2 + 0.7152 * g**2.2 + 0.0722 * b**2.2 for r, g, b in map(to_rgb, colours)])
    assert (lightness > 0).all()


def test_agents_on_other_tasks_or_data_are_in_no_average_with_the_others() -> None:
    task = QUICKSTART[0] + GENERATED
    few = [simulated(["fql"], list(TASKS[:2])), simulated(["qam"], [task])]
    made = drawn(together(simulated(["rql", "ifql"], list(TASKS[:7])), *few), published=True)
    for name in ("aggregates", "performance_profiles", "improvement_matrix", "cost"):
        assert (
            "Over 7 tasks (published data). Left out, as not run on all of these tasks: FQL, QAM." in made[name].caption
        )
    panels = {panel.get_title(): panel for panel in shown(made["bars"])}
    assert list(panels) == ["7 tasks", "antmaze-large tasks 1, 2"]
    rows = [text.get_text() for text in shown(made["bars"])[0].get_yticklabels()]
    for title, there in (("7 tasks", {"RQL", "IFQL"}), ("antmaze-large tasks 1, 2", {"RQL", "IFQL", "FQL"})):
        # Solid bars are one's own, hatched ones published.
        own = [bar for bar in panels[title].patches if bar.get_width() > 0 and not bar.get_hatch()]
        solid = {rows[round(bar.get_y() + 0.36)] for bar in own}
        assert solid == there


def test_an_agent_has_one_colour_in_figures_of_other_agents() -> None:
    made = drawn(together(simulated(["rql", "a1", "a2"], list(TASKS[:7])), simulated(["b0"], list(TASKS[:1]))))
    bars = [to_rgb(bar.get_facecolor()) for bar in shown(made["bars"])[0].patches if bar.get_width() > 0]
    profile = {to_rgb(line.get_color()) for line in shown(made["performance_profiles"])[0].get_lines()}
    assert profile <= set(bars) and len(profile) == 3
