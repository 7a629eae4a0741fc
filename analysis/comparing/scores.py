"""Scores to compare, from one's own runs and the archive."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from analysis.averaging.selection import comparable
from analysis.averaging.task_sets import tasks_of
from analysis.comparing.differences import data_orders
from analysis.names import TASKS, agents_in_order, in_order
from analysis.published import QAM_ARCHIVE
from analysis.reading.loading import load_runs
from analysis.regimes import Facts, reason
from benchmark.common.errors import UserError, check_choice

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Scores:
    """One score per (agent, task, seed), and what is to be said of them."""

    scores: pd.DataFrame
    orders: dict[tuple[str, str, int], str]
    """See `analysis.comparing.differences.data_orders`."""
    facts: dict[str, dict[str, Facts]]
    """What each agent's scores were made under, by agent and task."""
    caption: str
    notes: list[str]

    def named(self, agent: str) -> str:
        """The agent of that name; the archive's where one's own runs have none. Else a UserError."""
        return check_choice("agent", self.known(agent), agents_in_order(self.scores["agent"]), most=20)

    def known(self, agent: str) -> str:
        """The same; a name that is not there stays as it is."""
        known, imported = set(self.scores["agent"]), f"{agent} ({QAM_ARCHIVE})"
        return imported if agent not in known and imported in known else agent

    def only(self, agents: Sequence[str]) -> Scores:
        """The same of these agents."""
        return replace(self, scores=self.scores[self.scores["agent"].isin(agents)])

    def apart(self, baseline: str) -> dict[str, str]:
        """Agents whose scores are of another regime than the baseline's on a task that both have, with the reason."""
        tasks = tasks_of(self.scores)
        reasons = {
            agent: reason(
                self.facts.get(agent, {}), self.facts.get(baseline, {}), in_order(have & tasks[baseline], TASKS)
            )
            for agent, have in tasks.items()
        }
        return {agent: why for agent, why in reasons.items() if why}


def read(
    runs: Sequence[str],
    archive: str | None,
    last: int = 1,
    diverged: Literal["zero", "exclude"] = "zero",
    measure: str = "success",
) -> Scores:
    """Read final scores, of another measure than success in hundreds: see `Results.by`.

    Raises a UserError where no run is finished, or the archive is to have another measure.
    """
    own = comparable(load_runs(*runs), diverged=diverged, last=last)
    if own.evaluations.empty and runs:
        said = f" ({' '.join(own.notes)})" if own.notes else ""
        raise UserError(f"no finished run under {', '.join(runs)}{said}")
    orders = data_orders(own.runs.runs, own.evaluations)
    results = (own.beside_archive(archive) if archive else own).by(measure)
    text = results.caption.partition(";")[0].replace("Success", measure.capitalize(), 1) + "."
    return Scores(results.scores, orders, results.facts, text, results.notes)
