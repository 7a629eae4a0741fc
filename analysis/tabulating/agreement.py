"""Whether methods come in the order in which they were published, as a table."""

from __future__ import annotations

import math
from collections.abc import Iterable

from analysis.averaging.agreement import FEWEST, agreements
from analysis.averaging.results import Results
from analysis.tabulating.cells import PrintedTable, Row

CAPTION = (
    "Spearman's rank correlation between final success here and published success at 1M updates, over the methods that "
    "have both; 95% percentile bootstrap over the seeds here; chance: share of random orders that agree or disagree as "
    "much."
)


def order_table(results: Results, agents: Iterable[str] | None = None) -> PrintedTable:
    """A row a task; of those agents alone where some are named."""
    rows: list[Row] = []
    for found in agreements(results.of_agents(list(agents) if agents else None).scores):
        interval = "-" if math.isnan(found.rho) else f"{found.low:.2f} to {found.high:.2f}"
        rows.append([found.task, str(found.methods), f"{found.rho:.2f}", interval, f"{found.chance:.3f}"])
    notes = [] if rows else [f"no task has {FEWEST} methods with figures both here and published"]
    header = ["task", "methods", "rank correlation", "95% interval", "chance"]
    return PrintedTable("order", CAPTION, header, rows, notes=notes + results.notes)
