"""`Results`: runs, what of them may be averaged, and their scores. Made once, handed to tables, figures and the report.

The steps before are kept apart on purpose: `load_runs` reads everything there is and judges nothing; `comparable` takes
from that what may be averaged, and says in `notes` what it left out, filled in or kept apart.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import pandas as pd

from analysis.averaging import statistics
from analysis.averaging.task_sets import over, shared
from analysis.names import agents_in_order
from analysis.published import QAM_ARCHIVE
from analysis.reading.archive import read_curves
from analysis.reading.loading import Runs
from analysis.regimes import SEVERAL, Facts, facts_by_agent, name_of, of_published
from benchmark.common.errors import UserError, check_choice


@dataclass(frozen=True)
class Results:
    """What may be averaged, and what was done to get it."""

    evaluations: pd.DataFrame
    """Columns of `Runs.evaluations`, `imputed` (bool: filled in for a diverged seed), `origin` (as in `Runs.runs`),
    `regime` (of all of the agent's tasks: `analysis.regimes.name_of`)."""
    notes: list[str] = field(default_factory=list)
    """One sentence per thing left out, filled in or kept apart; to be printed beside every average."""
    runs: Runs = field(default_factory=Runs)
    """Everything that was found; empty where the evaluations are of no run here."""
    last: int = 1
    """Evaluations that a score is the mean of: 1 is the final one, 3 the last three."""

    @cached_property
    def scores(self) -> pd.DataFrame:
        """A score per (agent, task, seed), by `statistics.final_scores`. Raises what that raises."""
        return statistics.final_scores(self.evaluations, self.last)

    @cached_property
    def facts(self) -> dict[str, dict[str, Facts]]:
        """What each agent's figures were made under, by agent and task; nothing of agents without records."""
        found: dict[str, dict[str, Facts]] = {}
        if len(self.runs):
            known = self.evaluations[self.evaluations["run"].isin(self.runs.runs["run"])]
            found = facts_by_agent(self.runs.runs, known, self.last)
        imported = self.evaluations[self.evaluations["agent"].str.endswith(f" ({QAM_ARCHIVE})")]
        for agent, task in imported[["agent", "task"]].drop_duplicates().itertuples(index=False):
            found.setdefault(agent, {})[task] = of_published("qam", task, self.last)
        return found

    @cached_property
    def regimes(self) -> dict[str, str]:
        """The regime of each agent; "" where it is not said."""
        if "regime" not in self.evaluations:
            return dict.fromkeys(agents_in_order(self.evaluations["agent"]), "")
        known = self.evaluations[["agent", "regime"]].drop_duplicates("agent").set_index("agent")["regime"]
        return {agent: known[agent] for agent in agents_in_order(known.index)}

    def regime_on(self, agent: str, tasks: Collection[str]) -> str:
        """The regime of an agent's figures on some of its tasks: it may be one where all of its tasks are of several.

        Where records do not say it is that of all of them.
        """
        facts = self.facts.get(agent, {})
        known = {task: facts[task].of_any_rule for task in tasks if task in facts}
        return name_of(known) if known else self.regimes[agent]

    @cached_property
    def of_several_regimes(self) -> frozenset[str]:
        """The agents whose own tasks are of several regimes: nothing of theirs is averaged over tasks unasked."""
        return frozenset(agent for agent, regime in self.regimes.items() if regime.startswith(SEVERAL))

    def averaged(self, tasks: Collection[str], across: bool = False) -> pd.DataFrame:
        """The scores on these tasks of the agents that have all of them, to be averaged; of several tasks without the
        agents `of_several_regimes` unless `across`.
        """
        scores = over(self.scores, tasks)
        return scores if across or len(tasks) < 2 else scores[~scores["agent"].isin(self.of_several_regimes)]

    @cached_property
    def caption(self) -> str:
        """How the scores and their intervals were made."""
        return statistics.caption(self.last, self.scores)

    def only(self, rows: pd.Series) -> Results:
        """The results of some rows of the evaluations alone."""
        return self if rows.all() else dataclasses.replace(self, evaluations=self.evaluations[rows])

    def by(self, measure: str) -> Results:
        """The results with "return" or "length" of an episode, in hundreds, in the place of success: scores of it are
        then printed as it is, where those of success are in percent. A diverged seed has neither at the end, and is
        left out. Raises a UserError of what was imported, which has no such figures.
        """
        if measure == "success":
            return self
        seeds = self.evaluations.groupby(["agent", "task", "seed"])["imputed"]
        data = self.evaluations[~seeds.transform("max").astype(bool)]
        lacking = agents_in_order(data["agent"][data[measure].isna()])
        if lacking:
            raise UserError(f"of {', '.join(lacking)} no {measure} is on record, only success")
        gone = " Diverged seeds have none at the end, and are left out." if len(data) < len(self.evaluations) else ""
        notes = [*self.notes, f"In the place of success: the mean {measure} of an episode.{gone}"]
        return dataclasses.replace(self, evaluations=data.assign(success=data[measure] / 100), notes=notes)

    def of_agents(self, agents: Sequence[str] | None) -> Results:
        """The results of some agents alone, all where none are named. Raises a UserError for one that is not there."""
        known = agents_in_order(self.evaluations["agent"])
        chosen = [check_choice("agent", agent, known) for agent in agents or known]
        return self.only(self.evaluations["agent"].isin(chosen))

    def on_shared_tasks(self) -> Results:
        """The results over the one set of tasks that has most figures, of the agents that have all of them."""
        common = shared(self.evaluations)
        return self if len(common) == len(self.evaluations) else dataclasses.replace(self, evaluations=common)

    def beside_archive(self, path: str | Path) -> Results:
        """With the curves of the QAM archive, each agent under a name of its own: "fql (QAM archive)".

        Only tasks of one's own runs are taken, where there are any: a mean over other tasks would not compare.
        """
        own, curves = self.evaluations, read_curves(path)
        curves = curves.assign(agent=curves["agent"] + f" ({QAM_ARCHIVE})", imputed=False, regime="qam")
        if own.empty:
            return dataclasses.replace(self, evaluations=curves.reset_index(drop=True))
        kept = curves[curves["task"].isin(own["task"])]
        note = f"({QAM_ARCHIVE}): the published curves of 12 seeds each, imported"
        if set(own["task"]) != set(curves["task"]):
            note += f", of the {kept['task'].nunique()} tasks run here that it has"
        both = pd.concat([own, kept], ignore_index=True)
        return dataclasses.replace(self, evaluations=both, notes=[*self.notes, f"{note}."])
