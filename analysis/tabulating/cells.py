"""What tables are made of: figures with intervals, and rows of them under a header, before any format."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import pandas as pd

from analysis.names import ORIGINS, label
from analysis.regimes import why_apart
from benchmark.common.errors import check_choice


@dataclass(frozen=True)
class Cell:
    """One figure: success or a difference, as a fraction, with its interval (NaN where there is none)."""

    value: float = math.nan
    low: float = math.nan
    high: float = math.nan
    digits: int = 0
    signed: bool = False
    bold: bool = False
    mark: str = ""
    """A sign after the figure, which a note explains."""

    @property
    def text(self) -> str:
        """As printed: "45", "45.3 [40.1, 50.2]", "+3.0 [-1.0, 7.0]"; a dash where there is no figure."""
        if math.isnan(self.value):
            return "–"
        sign = "+" if self.signed else ""
        text = f"{100 * self.value:{sign}.{self.digits}f}"
        if not math.isnan(self.low):
            text += f" [{100 * self.low:.{self.digits}f}, {100 * self.high:.{self.digits}f}]"
        return text + self.mark


Row = list[str | Cell]


@dataclass
class PrintedTable:
    """What every format is made from: rows of texts and cells under a header."""

    name: str
    caption: str
    header: list[str]
    rows: list[Row]
    own: list[bool] = field(default_factory=list)
    """Which rows are one's own; empty where rows do not belong to one agent."""
    notes: list[str] = field(default_factory=list)
    marks: dict[str, str] = field(default_factory=dict)
    """Signs of one's own agents, as `marks_of` gives them."""

    def __post_init__(self) -> None:
        """One entry in `own` for every row."""
        self.own = self.own or [False] * len(self.rows)


def by_regimes(table: PrintedTable, of_rows: Sequence[str], of_agents: Mapping[str, str]) -> PrintedTable:
    """The table, where its rows stand by several regimes with a column of them and a note that says why."""
    if len(set(of_rows)) < 2:
        return table
    rows: list[Row] = [[*row, regime or "not said"] for row, regime in zip(table.rows, of_rows, strict=True)]
    apart = why_apart({label(agent): regime for agent, regime in of_agents.items()}, "rows stand by regime")
    return replace(table, header=[*table.header, "regime"], rows=rows, notes=[*table.notes, apart])


def marks_of(scores: pd.DataFrame, star: str = "") -> dict[str, str]:
    """Signs of the agents (each followed by `star`) whose hyperparameters are not all published; notes explain them."""
    if "origin" not in scores:
        return {}
    found = {agent: set(rows) for agent, rows in scores.groupby("agent")["origin"]}
    return {f"{agent}{star}": "".join(ORIGINS[kind] for kind in ORIGINS if kind in found[agent]) for agent in found}


def sources_of(scores: pd.DataFrame) -> dict[str, str]:
    """Whose each agent's scores are: "own", or an archive's name."""
    if "source" not in scores:
        return dict.fromkeys(scores["agent"], "own")
    return dict(zip(scores["agent"], scores["source"], strict=True))


def chosen_agents(agents: Iterable[str] | None, known: list[str]) -> list[str]:
    """The agents asked for, all that are known where none are. Raises a UserError for one that is not known."""
    return known if agents is None else [check_choice("agent", agent, known) for agent in agents]
