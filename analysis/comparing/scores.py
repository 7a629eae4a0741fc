"""Scores to compare, from one's own runs and the archive."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from analysis.comparing.differences import data_orders
from analysis.names import TASKS, agents_in_order, domain_of, in_order
from analysis.published import QAM_ARCHIVE
from analysis.regimes import Facts, evaluation_rule, facts_by_agent, named, reason
from analysis.task_sets import tasks_of
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
    runs: Sequence[str], archive: str | None, last: int = 1, diverged: Literal["zero", "exclude"] = "zero"
) -> Scores:
    """Read final scores. Raises a UserError where no run is finished."""
    from analysis.import_archive import beside
    from analysis.load import comparable, load_runs
    from analysis.statistics import caption, final_scores

    loaded = load_runs(*runs)
    selection = comparable(loaded, diverged=diverged)
    if selection.evaluations.empty and runs:
        said = f" ({' '.join(selection.notes)})" if selection.notes else ""
        raise UserError(f"no finished run under {', '.join(runs)}{said}")
    names = selection.evaluations.drop_duplicates("run")
    orders = data_orders(loaded.runs, dict(zip(names["run"], names["agent"], strict=True)))
    facts = facts_by_agent(loaded.runs, selection.evaluations, last)
    if archive:
        selection = beside(selection, archive)
    scores = final_scores(selection.evaluations, last)
    for agent, task, source in scores[["agent", "task", "source"]].drop_duplicates().itertuples(index=False):
        if source == QAM_ARCHIVE:
            of_domain = named()["qam"].facts(domain_of(task))
            facts.setdefault(agent, {})[task] = dataclasses.replace(of_domain, evaluation=evaluation_rule(last))
    text = caption(last, scores).partition(";")[0] + "."
    return Scores(scores, orders, facts, text, selection.notes)
