"""What success cost, as a table: hours of the device by agent."""

from __future__ import annotations

from collections.abc import Iterable

from analysis.averaging.costs import run_hours
from analysis.averaging.results import Results
from analysis.averaging.statistics import overall_means
from analysis.names import agents_in_order, label
from analysis.regimes import ACROSS, NOT_AVERAGED, why_apart
from analysis.tabulating.cells import Cell, PrintedTable, Row, chosen_agents

CAPTION = (
    "Mean success in percent over the tasks that an agent has runs of, which may differ between agents, and hours of "
    "the device that all its runs took, training and evaluation apart; the seeds of a run share it."
)


def cost_table(results: Results, agents: Iterable[str] | None = None, across: bool = False) -> PrintedTable:
    """A row an agent: success, runs, seeds, device, hours of training, of evaluation, and both for one seed.

    Success over tasks of several regimes is left out; `across` gives it, marked.
    """
    hours, means = run_hours(results), overall_means(results.scores).set_index("agent")
    chosen, rows = chosen_agents(agents, agents_in_order(hours["agent"])), list[Row]()
    for agent in chosen:
        of = hours[hours["agent"] == agent]
        seeds, mean, several = of["seeds"].sum(), means.loc[agent], agent in results.of_several_regimes
        total, counted = of[["training", "evaluation"]].sum(skipna=False), f"{len(of)} x {seeds / len(of):g} seeds"
        figures = [total["training"], total["evaluation"], total.sum(skipna=False) / seeds]
        success = Cell(mean["mean"], mean["low"], mean["high"], digits=1, mark=ACROSS if several else "")
        success = Cell() if several and not across else success
        rows.append([agent, success, counted, " and ".join(sorted(set(of["device"]))), *map(_text, figures)])
    header = ["agent", "success", "runs", "device", "training hours", "evaluation hours", "hours a seed"]
    notes = list(results.notes)
    if told := {label(agent): results.regimes[agent] for agent in chosen if agent in results.of_several_regimes}:
        notes.append(why_apart(told, f"what is marked {ACROSS} is of several" if across else NOT_AVERAGED))
    return PrintedTable("cost", CAPTION, header, rows, notes=notes)


def _text(hours: float) -> str:
    return "unknown" if hours != hours else f"{hours:.2f}"
