"""All figures that results support, one after the other, and their files.

What is averaged over tasks is over the same tasks for every agent of a panel (`averaging.task_sets`); who has not all
of them is not in it, and the caption says so.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from analysis import published as published_figures
from analysis.averaging.costs import costs
from analysis.averaging.results import Results
from analysis.averaging.task_sets import set_name
from analysis.common.escape import markdown
from analysis.common.progress_bar import bar
from analysis.drawing.aggregates import draw_aggregates, draw_improvement, draw_improvement_matrix, draw_profiles
from analysis.drawing.axes import left_out
from analysis.drawing.bars import draw_bars, published_agents
from analysis.drawing.beside_authors import draw_beside_authors, pairs_of
from analysis.drawing.claims import draw_ablations, draw_claims, read_claims
from analysis.drawing.costs import draw_cost
from analysis.drawing.curves import (
    MOST_TASKS,
    draw_learning_curves,
    draw_learning_curves_by_agent,
    draw_learning_curves_by_domain,
)
from analysis.drawing.ranks import FEWEST_TASKS, draw_ranks
from analysis.drawing.reversal import draw_reversal, read_reversal
from analysis.drawing.style import CROWD, IMPORTED, Drawing, Looks, looks
from analysis.names import agents_in_order, label
from analysis.regimes import ACROSS, NOT_AVERAGED, folder_name, why_apart
from benchmark.common.errors import check_choice
from benchmark.common.files import make_folder, write_text


def choose_highlight(agents: Sequence[str], highlight: str | None) -> str:
    """The agent to highlight: the one asked for (a UserError where it is not there), else RQL, else the first."""
    if highlight is not None:
        return check_choice("agent to highlight", highlight, agents)
    return next((agent for agent in agents if agent.partition(" (")[0] == "rql"), agents[0])


def of_agents(results: Results, published: bool, agents: Collection[str] | None) -> Results:
    """One's own results of some agents alone, all where none are named. Raises a UserError for one that has neither
    results nor, where they are asked for, published figures.
    """
    theirs = published_figures.by_domain()["agent"] if published else ()
    known = agents_in_order([*results.evaluations["agent"], *theirs])
    chosen = [check_choice("agent", agent, known) for agent in agents or known]
    return results.only(results.evaluations["agent"].isin(chosen))


def _published(results: Results, published: bool, agents: Collection[str] | None) -> list[str]:
    """The agents whose published means are drawn."""
    theirs = published_agents(results.evaluations) if published else []
    return [agent for agent in theirs if agents is None or agent in agents]


def everybody(results: Results, published: bool, agents: Collection[str] | None = None) -> list[str]:
    """The agents that figures show, published ones included, of these only those among `agents`."""
    return agents_in_order([*results.evaluations["agent"], *_published(results, published, agents)])


def drawings(
    results: Results,
    published: bool = False,
    highlight: str | None = None,
    across: bool = False,
    agents: Collection[str] | None = None,
) -> Iterator[Drawing]:
    """Yield every figure that the results support: even one evaluation of one seed gives bars and a curve.

    The cost is drawn where runs' times are known, published means where asked for (of `agents` alone where some are
    named); RQL stands out, or `highlight`.
    Agents of several regimes (`analysis.regimes`) have figures of their own, and stand apart among the bars; tasks of
    several are not averaged. `across` does all of it all the same, marked.
    """
    imported = results.evaluations["agent"].str.endswith(f"({IMPORTED})").any()
    for draw in bar(_supported(results, published, highlight, across, agents), "figures", fewest=2):
        yield draw().saying(f"†: {IMPORTED}, imported." if imported else "")


def _supported(
    results: Results, published: bool, highlight: str | None, across: bool, agents: Collection[str] | None
) -> list[Callable[[], Drawing]]:
    """The figures that the results support, to be drawn one after the other; arguments as `drawings`'."""
    results = results.only(results.evaluations["success"].notna())
    own, known = agents_in_order(results.evaluations["agent"]), everybody(results, published, agents)
    if not known:
        return []
    chosen, look = choose_highlight(known, highlight), looks(known)
    theirs = _published(results, published, agents)
    supported: list[Callable[[], Drawing]] = [partial(draw_bars, results, chosen, look, theirs, across)]
    if not own:
        return supported
    regimes = dict.fromkeys(results.regimes.values())
    if len(regimes) == 1 and not results.of_several_regimes:
        return supported + _of_one_regime(results, chosen, look)
    told = {label(agent): regime for agent, regime in results.regimes.items()}
    if across:
        why = why_apart(told, f"what figures marked {ACROSS} show is no ranking")
        marked = [partial(_renamed, draw, "", f"{ACROSS} {why}") for draw in _of_one_regime(results, chosen, look)]
        return supported + marked
    done = ["each regime has figures of its own", *([NOT_AVERAGED] if results.of_several_regimes else [])]
    why = why_apart(told, ", and ".join(done))
    for regime in regimes:
        part = results.only(results.evaluations["agent"].map(results.regimes) == regime)
        text = f"Regime: {regime or 'not said'}. {why}"
        drawn = _by_task(part, look) if part.of_several_regimes else _of_one_regime(part, chosen, look)
        for draw in drawn:
            supported.append(partial(_renamed, draw, f"_{folder_name(regime, 60)}", text))
    return supported


def _renamed(draw: Callable[[], Drawing], ending: str, text: str) -> Drawing:
    """A figure with more at the end of its name and in its caption."""
    made = draw()
    if text.startswith(ACROSS):
        made.figure.suptitle(f"{ACROSS} of several regimes", fontsize=6.5, ha="right", x=0.99)
    return dataclasses.replace(made, name=made.name + ending).saying(text)


def _by_task(results: Results, look: Looks) -> list[Callable[[], Drawing]]:
    """The figures that average over no tasks, of agents whose tasks are of several regimes: a few agents' curves."""
    evaluations = results.evaluations
    few = evaluations["agent"].nunique() <= CROWD and evaluations["task"].nunique() <= MOST_TASKS
    return [partial(draw_learning_curves, evaluations, look)] if few else []


def _of_one_regime(results: Results, chosen: str, look: Looks) -> list[Callable[[], Drawing]]:
    """The figures but the bars of results that may be ranked together; `chosen` stands out where it is there."""
    evaluations, own = results.evaluations, agents_in_order(results.evaluations["agent"])
    supported: list[Callable[[], Drawing]] = []
    chosen = chosen if chosen in own else choose_highlight(own, None)
    common = results.on_shared_tasks()
    there = agents_in_order(common.evaluations["agent"])
    text = f"Over {set_name(set(common.evaluations['task']))}. {left_out(own, there)}"

    def averaged(draw: Callable[..., Drawing], *arguments: Any) -> None:
        supported.append(lambda: draw(*arguments).saying(text))

    if len(own) <= CROWD:
        supported.append(partial(draw_learning_curves, evaluations, look))
    else:
        chosen = chosen if chosen in there else choose_highlight(there, None)
        averaged(draw_learning_curves_by_agent, common.evaluations, chosen, look)
        supported.append(partial(draw_learning_curves_by_domain, evaluations, chosen, look))
    if pairs_of(own):
        supported.append(partial(draw_beside_authors, evaluations))
    chosen = chosen if chosen in there else choose_highlight(there, None)
    # On a single task these would say again, of a handful of scores, what the bars say.
    if len(there) > 1 and common.scores["task"].nunique() > 1:
        for draw in (draw_aggregates, draw_profiles, draw_improvement):
            averaged(draw, common, chosen, look)
        averaged(draw_improvement_matrix, common)
    if len(there) > 2 and common.scores["task"].nunique() >= FEWEST_TASKS:
        averaged(draw_ranks, common, chosen, look)
    hours = costs(common)
    if (hours["hours"] > 0).any():
        averaged(draw_cost, common, hours[hours["hours"] > 0], chosen, look)
    return supported


def save(made: Iterable[Drawing], out_dir: str | Path) -> list[Path]:
    """Write each figure as PDF and PNG, and `figure_captions.md`; return the paths, none where there is nothing."""
    folder = Path(out_dir)
    make_folder(folder)
    paths: list[Path] = []
    captions: list[str] = []
    for drawing in made:
        paths += drawing.save(folder)
        captions.append(f"* **{drawing.name}**: {markdown(drawing.caption)}\n")
    if captions:
        paths.append(folder / "figure_captions.md")
        write_text(paths[-1], "".join(captions))
    return paths


def write_figures(
    results: Results,
    out_dir: str | Path,
    published: bool = False,
    highlight: str | None = None,
    reversal: str | Path | None = None,
    claims: str | Path | None = None,
    across: bool = False,
    more: Iterable[Drawing] = (),
    agents: Collection[str] | None = None,
) -> list[Path]:
    """Write every figure that the results support, those of a reversal file and of one of claims, and `more`; see
    `drawings` and `save`.
    """
    made = [*more]
    made += [draw_reversal(read_reversal(reversal))] if reversal else []
    if claims:
        found = read_claims(claims)
        made += [drawing for drawing in (draw_claims(found), draw_ablations(found)) if drawing is not None]
    return save(itertools.chain(made, drawings(results, published, highlight, across, agents)), out_dir)
