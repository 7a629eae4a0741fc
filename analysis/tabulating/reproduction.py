"""One's own figures against the published ones, each with a verdict."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import pandas as pd

from analysis import published
from analysis.averaging.results import Results
from analysis.averaging.statistics import domain_means, task_means
from analysis.names import DOMAINS, TASKS, agents_in_order
from analysis.tabulating.cells import Cell, PrintedTable, Row, chosen_agents, marks_of, sources_of
from analysis.tabulating.with_published import DISAGREEMENTS

_PLACE = {name: i for i, name in enumerate((*DOMAINS, *TASKS))}


def reproduction_table(results: Results, agents: Iterable[str] | None = None) -> PrintedTable:
    """Own against published, per task and, where all five tasks are there, per domain.

    The interval of a difference combines both intervals as independent (root of the sum of squares on each side);
    where none is published it is one's own alone. Verdict: "agrees" where it holds 0 (or the difference is within
    the published figure's rounding), else "above" or "below"; "one seed" where there is no interval. A row of another
    length than the published figure's says both: "below (1M of 2M updates)".
    """
    sources = sources_of(results.scores)
    scores = results.scores[results.scores["agent"].map(sources) == "own"]
    chosen, known = agents_in_order(chosen_agents(agents, list(sources_of(scores)))), _published()
    steps = scores.groupby(["agent", "task"])["step"].min().to_dict()
    steps |= scores.groupby(["agent", "domain"])["step"].min().to_dict()
    own = [item for item in _own(scores) if item[0] in chosen and (_method(item[0]), item[1]) in known]
    rows: list[Row] = []
    lengths = []
    for agent, where, row in sorted(own, key=lambda item: (chosen.index(item[0]), _PLACE.get(item[1], len(_PLACE)))):
        mine, theirs = Cell(row.mean, row.low, row.high, digits=1), known[_method(agent), where]
        updates, length = steps[agent, where], published.updates(_method(agent))
        gap = difference(mine, theirs)
        verdict = _verdict(gap, theirs)
        verdict += "" if updates == length else f" ({_millions(updates)} of {_millions(length)} updates)"
        rows.append([agent, where, str(row.seeds), f"{updates:,}", mine, theirs, gap, verdict])
        lengths.append((updates, length))
    header = ["agent", "task or domain", "seeds", "updates", "own", "published", "difference", "verdict"]
    text = f"Own against published success in percent. {results.caption}"
    said = [*results.notes, *(DISAGREEMENTS if rows else ()), *_too_short(lengths)]
    return PrintedTable("reproduction", text, header, rows, notes=said, marks=marks_of(scores))


def _method(agent: str) -> str:
    """The method that an agent's runs are of: "rql" of "rql (quickstart)"."""
    return agent.partition(" (")[0]


def _published() -> dict[tuple[str, str], Cell]:
    """The published figures by (agent, task or domain)."""
    tasks, domains = published.by_task(), published.by_domain()
    known = {(row.agent, row.task): Cell(row.success, row.low, row.high, digits=1) for row in tasks.itertuples()}
    return known | {(row.agent, row.domain): Cell(row.success, digits=1) for row in domains.itertuples()}


def _own(scores: pd.DataFrame) -> list[tuple[str, str, Any]]:
    """One's own means: (agent, task or whole domain, row)."""
    whole = domain_means(scores[scores["task"].isin(TASKS)])
    whole = whole[whole["tasks"] == len(TASKS) // len(DOMAINS)]
    own = [(row.agent, row.domain, row) for row in whole.itertuples()]
    return own + [(row.agent, row.task, row) for row in task_means(scores).itertuples()]


def _too_short(lengths: list[tuple[int, int]]) -> list[str]:
    """Say how many rows, of (own updates, published ones), are of shorter runs than the published figures."""
    least, said = published.AS_COMMANDED, []
    if short := sum(own < least for own, _ in lengths):
        said.append(f"{short} of {len(lengths)} rows have fewer than {least:,} updates: no reproductions yet.")
    if as_commanded := sum(least <= own < theirs for own, theirs in lengths):
        said.append(
            f"{as_commanded} of {len(lengths)} rows, of RQL, TFQL or BDPO, have the updates of the authors' commands; "
            "the paper's figures are of 2M by its transcriptions (--protocol=rql_paper), and may be higher for that "
            "alone."
        )
    return said


def _millions(updates: int) -> str:
    """1,500,000 as "1.5M", 7,000 as "7,000"."""
    return f"{updates / 1e6:g}M" if updates % 100_000 == 0 else f"{updates:,}"


def difference(own: Cell, published: Cell) -> Cell:
    """Own minus published, with the interval of `reproduction_table`."""
    value = own.value - published.value
    if math.isnan(own.low):
        return Cell(value, digits=1, signed=True)
    below = above = 0.0
    if not math.isnan(published.low):
        below, above = published.high - published.value, published.value - published.low
    low = value - math.hypot(own.value - own.low, below)
    return Cell(value, low, value + math.hypot(own.high - own.value, above), digits=1, signed=True)


def _verdict(difference: Cell, published: Cell) -> str:
    """What the difference says."""
    if math.isnan(difference.low):
        return "one seed"
    # A figure printed without interval is a whole percent: half a percent of it is rounding.
    slack = 0.005 + 1e-9 if math.isnan(published.low) else 0.0
    if difference.low - slack <= 0 <= difference.high + slack:
        return "agrees"
    return "above" if difference.value > 0 else "below"
