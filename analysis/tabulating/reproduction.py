"""One's own figures against the published ones, each with a verdict."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from analysis import published
from analysis.averaging.results import Results
from analysis.averaging.statistics import domain_means, task_means
from analysis.names import DOMAINS, TASKS, agents_in_order, domain_of, label
from analysis.regimes import ACROSS, Facts, apart_from_published, reason
from analysis.tabulating.cells import Cell, PrintedTable, Row, chosen_agents, marks_of, sources_of
from analysis.tabulating.with_published import DISAGREEMENTS

_PLACE = {name: i for i, name in enumerate((*DOMAINS, *TASKS))}


def reproduction_table(results: Results, agents: Iterable[str] | None = None, across: bool = False) -> PrintedTable:
    """Own against published, per task and, where all five tasks are there, per domain.

    The interval of a difference combines both intervals as independent (root of the sum of squares on each side);
    where none is published it is one's own alone. Verdict: "agrees" where it holds 0 (or the difference is within
    the published figure's rounding), else "above" or "below"; "one seed" where there is no interval. A row of another
    length than the published figure's says both: "below (1M of 2M updates)".

    Where records say another regime than the published figure's there is neither difference nor verdict; `across` gives
    both, marked. A domain whose tasks are of several regimes is not averaged unless `across`. Rows stand by regime.
    """
    sources = sources_of(results.scores)
    scores = results.scores[results.scores["agent"].map(sources) == "own"]
    chosen, known = agents_in_order(chosen_agents(agents, list(sources_of(scores)))), _published()
    offline = _offline(results, scores)
    steps = offline.groupby(["agent", "task"])["step"].min().to_dict()
    steps |= offline[offline["task"].isin(TASKS)].groupby(["agent", "domain"])["step"].min().to_dict()
    own = [item for item in _own(scores) if item[0] in chosen and (_method(item[0]), item[1]) in known]
    rows: list[Row] = []
    lengths = []
    others: dict[str, str] = {}
    order = list(dict.fromkeys(results.regimes.values()))

    def place(item: tuple[str, str, Any]) -> tuple[int, int, int]:
        return order.index(results.regimes[item[0]]), chosen.index(item[0]), _PLACE.get(item[1], len(_PLACE))

    for agent, where, row in sorted(own, key=place):
        several, why = _other_regime(results.facts.get(agent, {}), _method(agent), where)
        if several and not across:
            others[f"{label(agent)} on {where}"] = f"its tasks are of several regimes: {several}"
            continue
        mine, theirs = Cell(row.mean, row.low, row.high, digits=1), known[_method(agent), where]
        updates, length = steps[agent, where], published.updates(_method(agent))
        gap = dataclasses.replace(difference(mine, theirs), mark=ACROSS if why or several else "")
        verdict = _verdict(gap, theirs)
        if why:
            others.setdefault(label(agent), why)
            gap, verdict = (gap, f"{verdict}, of another regime") if across else (Cell(), "another regime")
        verdict += "" if updates == length else f" ({_millions(updates)} of {_millions(length)} updates)"
        rows.append([agent, where, str(row.seeds), f"{updates:,}", mine, theirs, gap, verdict])
        lengths.append((updates, length))
    header = ["agent", "task or domain", "seeds", "updates", "own", "published", "difference", "verdict"]
    text = f"Own against published success in percent. {results.caption}"
    said = [*results.notes, *(DISAGREEMENTS if rows else ()), *_too_short(lengths), *_said_of(others, across)]
    return PrintedTable("reproduction", text, header, rows, notes=said, marks=marks_of(scores))


def _offline(results: Results, scores: pd.DataFrame) -> pd.DataFrame:
    """The scores with the updates before an online phase as their step."""
    facts = [results.facts.get(row.agent, {}).get(row.task, Facts()) for row in scores.itertuples()]
    return scores.assign(step=[step - of.online_steps for step, of in zip(scores["step"], facts, strict=True)])


def _other_regime(facts: Mapping[str, Facts], method: str, where: str) -> tuple[str, str]:
    """Of an agent's figure: why its tasks are not of one regime, and why it is of another than the published one.

    Both are "" where they are, and where records do not say.
    """
    tasks = [task for task in facts if where in (task, domain_of(task)) and task in TASKS]
    ours = {task: facts[task] for task in tasks}
    # Tasks of one domain have chunks of one length.
    shared = {t: dataclasses.replace(one.of_every_task, chunk_length=one.chunk_length) for t, one in ours.items()}
    first = dict.fromkeys(tasks, shared[tasks[0]]) if tasks else {}
    return reason(shared, first, tasks), apart_from_published(ours, method)


def _said_of(others: Mapping[str, str], across: bool) -> list[str]:
    """One sentence on what is of another regime than what it stands beside."""
    if not others:
        return []
    told = "; ".join(f"{name}: {why}" for name, why in others.items())
    done = f"differences marked {ACROSS} may be the regimes'" if across else "these have no verdict"
    return [f"Figures of different regimes differ for other reasons than the agents, so {done} (own first): {told}."]


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
