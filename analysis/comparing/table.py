"""Comparisons as a table."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

from analysis.comparing.differences import LEVEL, REPETITIONS, Comparison, verdict
from analysis.names import label
from analysis.regimes import ACROSS
from analysis.tabulating.cells import Cell, PrintedTable, Row

HEADER = ["agent", "tasks", "seeds", "difference", "other tasks", "chance", "p", "Holm", "verdict"]
CORRECTED = (
    "Intervals are 95% and not corrected for the number of rows; p-values are, in the column Holm, for all rows over "
    "as many tasks (overall, a domain, a task), and verdicts go by these."
)


def table(
    comparisons: Sequence[Comparison],
    baseline: str,
    caption: str,
    notes: Iterable[str] = (),
    apart: Mapping[str, str] = MappingProxyType({}),
    measure: str = "success",
) -> PrintedTable:
    """A row a comparison: differences and chances in percent, p-values as numbers, the verdict in words.

    `apart`: agents of other regimes with the reason; what is there of them is marked, and a note says why.
    `measure`: of what the scores are.
    """
    rows: list[Row] = []
    for one in comparisons:
        mark = ACROSS if one.agent in apart else ""
        difference = Cell(one.difference, *one.interval, digits=1, signed=True, mark=mark)
        elsewhere = Cell(
            math.nan if math.isnan(one.other_tasks[0]) else one.difference, *one.other_tasks, 1, True, mark=mark
        )
        chance = Cell(one.improvement, *one.improvement_interval, mark=mark)
        numbers = [_p(one.p, one.floor), _p(one.corrected, one.floor)]
        said = verdict(one, label(baseline)) + ("; of another regime" if mark else "")
        rows.append([one.agent, one.where, one.seeds, difference, elsewhere, chance, *numbers, said])
    what = "percent of success" if measure == "success" else measure
    text = (
        f"Difference to {label(baseline)} in {what}, paired by task. {caption.strip()} Difference: with "
        f"the interval for other seeds on these tasks (bootstrap over seeds, {REPETITIONS:,} repetitions; of a single "
        "task Welch's, of paired seeds Student's). Other tasks: the interval for other tasks like these (bootstrap "
        "over tasks with their seeds). Chance: of a run of the agent above one of the baseline, of another seed where "
        f"seeds are paired. p: exact or Monte Carlo permutation test within tasks. Verdicts at the level {LEVEL:g}."
    )
    together = sum(any(kind[2] for kind in one.kinds) for one in comparisons)
    how = "Seeds are not paired across agents: the records do not say that they share the order of the data"
    if together:
        how = f"Seeds that share the order of the data are compared one by one in {together} rows, in no others"
    return PrintedTable(
        "comparison",
        text,
        HEADER,
        rows,
        notes=[CORRECTED, f"{how}.", *_regimes(comparisons, apart), *notes],
    )


def _regimes(comparisons: Sequence[Comparison], apart: Mapping[str, str]) -> list[str]:
    """Say who is of another regime than the baseline, why, and what was done about it."""
    there = {one.agent for one in comparisons}
    return [
        f"{ACROSS} {label(agent)} is of another regime than the baseline; a difference may be the regimes': {why}."
        if agent in there
        else f"{label(agent)} is not compared, for it is of another regime than the baseline: {why} (--across-regimes)."
        for agent, why in apart.items()
    ]


def _p(p: float, floor: float) -> str:
    """A p-value in print; a dash where there is no test."""
    if math.isnan(p):
        return "–"
    smallest = max(floor, 1e-4)
    return f"<{smallest:.1g}" if p < smallest else f"{p:.2g}"
