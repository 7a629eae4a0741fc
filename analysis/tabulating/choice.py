"""Which tables there are: the one that is asked for, and all that results have rows for."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from analysis.averaging.results import Results
from analysis.names import DOMAINS
from analysis.tabulating.agreement import order_table
from analysis.tabulating.cells import PrintedTable
from analysis.tabulating.cost import cost_table
from analysis.tabulating.each_seed import seeds_table
from analysis.tabulating.formats import save_tables
from analysis.tabulating.reproduction import reproduction_table
from analysis.tabulating.runs import d4rl_table, returns_table, summary
from analysis.tabulating.with_published import domain_table, task_table

WITH_PUBLISHED = {"domain": domain_table, "task": task_table}
OF_REGIMES = {"reproduction": reproduction_table, "order": order_table, "cost": cost_table}
"""Tables that keep regimes apart, unless they are asked not to."""
OF_RUNS = {"summary": summary, "seeds": seeds_table, "returns": returns_table, "d4rl": d4rl_table}


def table_of(
    name: str, results: Results | None, published: bool, agents: Iterable[str] | None, bold: float, across: bool = False
) -> PrintedTable:
    """The table of that name; arguments as `domain_table`'s. All but those `WITH_PUBLISHED` need results."""
    if name in WITH_PUBLISHED:
        return WITH_PUBLISHED[name](results, published, agents, bold, across)
    assert results is not None
    return OF_REGIMES[name](results, agents, across) if name in OF_REGIMES else OF_RUNS[name](results, agents)


def write_tables(results: Results, folder: str | Path) -> list[Path]:
    """Write the summary, the reproduction table, and the domain and task tables with the published figures.

    Each as Markdown, CSV, HTML and LaTeX where it has rows; the domain and task tables only where one of the paper's
    domains was run, D4RL's only where one of its tasks was. Returns the files.
    """
    tables = [summary(results), reproduction_table(results)]
    if results.scores["domain"].isin(DOMAINS).any():
        tables += [domain_table(results), task_table(results)]
    if len(results.runs):
        tables.append(d4rl_table(results))
    return save_tables(tables, folder)
