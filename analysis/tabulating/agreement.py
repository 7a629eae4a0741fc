"""Whether methods come in the order in which they were published, as a table."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping

import pandas as pd

from analysis import published
from analysis.averaging.agreement import DRAWN, FEWEST, MOST_COUNTED, agreements
from analysis.averaging.results import Results
from analysis.names import agents_in_order, label
from analysis.regimes import ACROSS, why_apart
from analysis.tabulating.cells import PrintedTable, Row

CAPTION = (
    "Spearman's rank correlation between final success here and published success at 1M updates, over the methods that "
    "have both; 95% percentile bootstrap over the seeds here, too narrow at a few, none where a method has one; "
    "chance: share of orders that agree or disagree as much, of all orders of up to "
    f"{MOST_COUNTED} methods, else of {DRAWN:,} drawn."
)


def _kinds(regimes: Mapping[str, str]) -> dict[str, str]:
    """Of methods' regimes here: those of each that is published, its own and its published figures', in words."""
    theirs = set(published.by_task()["agent"])
    own = {agent: f"{regime} here, " if regime else "" for agent, regime in regimes.items() if agent in theirs}
    return {agent: f"{here}{published.regime(agent)} as published" for agent, here in own.items()}


def _of_most(results: Results) -> pd.DataFrame:
    """The scores of each task of the methods of one regime, that of most of them on the task."""
    parts = [results.scores[:0]]
    for task, rows in results.scores.groupby("task"):
        kinds = _kinds({agent: results.regime_on(agent, [str(task)]) for agent in agents_in_order(rows["agent"])})
        first = Counter(kinds.values()).most_common(1)
        parts.append(rows[rows["agent"].map(kinds).isin([kind for kind, _ in first])])
    return pd.concat(parts)


def order_table(results: Results, agents: Iterable[str] | None = None, across: bool = False) -> PrintedTable:
    """A row a task; of those agents alone where some are named.

    Methods are ranked within one regime, that of most of them on the task and of their published figures; `across`
    ranks all, marked.
    """
    chosen = results.of_agents(list(agents) if agents else None)
    kinds = _kinds(chosen.regimes)
    several = len(set(kinds.values())) > 1 or any(agent in kinds for agent in chosen.of_several_regimes)
    mark = ACROSS if several and across else ""
    rows: list[Row] = []
    for found in agreements(chosen.scores if across else _of_most(chosen)):
        interval = "-" if math.isnan(found.low) else f"{found.low:.2f} to {found.high:.2f}"
        rows.append([found.task, str(found.methods), f"{found.rho:.2f}{mark}", interval, f"{found.chance:.3f}"])
    notes = [] if rows else [f"no task has {FEWEST} methods with figures both here and published"]
    if several:
        done = f"what is marked {ACROSS} ranks several" if across else "those of most methods alone are ranked"
        notes.append(why_apart({label(agent): kind for agent, kind in kinds.items()}, done))
    header = ["task", "methods", "rank correlation", "95% interval", "chance"]
    return PrintedTable("order", CAPTION, header, rows, notes=notes + results.notes)
