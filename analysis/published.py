"""The published figures in `results/published/`, as tidy frames (success as a fraction, agents by our names)."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import pandas as pd

from analysis.names import domain_of

FOLDER = Path(__file__).resolve().parent.parent / "results" / "published"
RQL_PAPER = "RQL paper, Table 1"
QAM_ARCHIVE = "QAM archive"

AS_COMMANDED = 1_000_000
"""Updates of the authors' commands."""
AS_TRANSCRIBED = dict.fromkeys(("rql", "tfql", "bdpo"), 2_000_000)
"""Updates of the published figures that are longer, by transcriptions of the RQL paper; its commands have 1M."""


def updates(agent: str) -> int:
    """Updates of an agent's published figures."""
    return AS_TRANSCRIBED.get(agent, AS_COMMANDED)


def regime(agent: str) -> str:
    """The regime of an agent's published figures in the RQL paper's table (`analysis.regimes`)."""
    return "rql" if agent in AS_TRANSCRIBED else "qam"


def by_domain() -> pd.DataFrame:
    """The RQL paper's table: agent, domain, success, regime, source. 19 agents x 10 domains, five-task means."""
    table = pd.read_csv(FOLDER / "rql_table1_by_domain.csv")
    table["success"] = table.pop("success_percent") / 100
    return table.assign(source=RQL_PAPER)


def by_task() -> pd.DataFrame:
    """All published figures per task: agent, task, domain, success, low, high, seeds, step, regime, source.

    RQL's come from its paper, without interval, seeds or step (NaN: its transcriptions disagree on both); those of
    16 baselines from the QAM archive at 1M updates, 12 seeds, with 95% bootstrap intervals.
    """
    rql = pd.read_csv(FOLDER / "rql_table1_rql_by_task.csv")
    rql["success"] = rql.pop("success_percent") / 100
    qam = pd.read_csv(FOLDER / "qam_offline_1m_by_task.csv").rename(
        columns={"success_mean": "success", "success_ci95_low": "low", "success_ci95_high": "high"}
    )
    table = pd.concat([rql.assign(source=RQL_PAPER), qam.assign(source=QAM_ARCHIVE)], ignore_index=True)
    table["domain"] = table["task"].map(domain_of)
    return table[["agent", "task", "domain", "success", "low", "high", "seeds", "step", "regime", "source"]]


def newer() -> pd.DataFrame:
    """Five-task means of newer papers: agent, domain ("all" for the fifty tasks), success, spread, regime, source.

    `spread` is the standard deviation over seeds, NaN where none is said. Regimes are in `analysis.regimes`.
    """
    table = pd.read_csv(FOLDER / "newer_by_domain.csv")
    table["success"] = table.pop("success_percent") / 100
    return table.assign(spread=table.pop("spread_percent") / 100)


def means(tasks: Collection[str]) -> dict[str, float]:
    """Published means over exactly these tasks, by agent.

    The domain table has the most agents and serves where the tasks are whole domains of five; otherwise the
    figures by task do. An agent without a figure for every one of the tasks is left out.
    """
    per_task, per_domain = by_task(), by_domain()
    chosen = per_task[per_task["task"].isin(tasks)]
    whole = chosen.groupby("domain")["task"].nunique()
    if len(tasks) and whole.sum() == len(tasks) and (whole == 5).all():
        table, wanted = per_domain[per_domain["domain"].isin(whole.index)], len(whole)
    else:
        table, wanted = chosen, len(tasks)
    found = table.groupby("agent")["success"].agg(["mean", "size"])
    return found["mean"][found["size"] == wanted].to_dict()
