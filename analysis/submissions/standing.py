"""Under which regime the runs of a submission were made, and the folder that it therefore belongs into."""

from __future__ import annotations

import datetime
import re
from pathlib import Path

import pandas as pd

from analysis.names import agents_in_order
from analysis.published import FOLDER
from analysis.reading.loading import Runs
from analysis.regimes import facts_by_agent, folder_name, name_of
from benchmark.common.errors import UserError

RESULTS = FOLDER.parent
SUBMISSIONS = RESULTS / "submissions"
"""Where submissions of others are: `<regime>/<date>_<agent>/`."""


def finished(runs: Runs) -> pd.DataFrame:
    """The runs that are done, each agent under the name of its folder: its label, where it has one."""
    frame = runs.runs[runs.runs["state"] == "done"]
    return frame.assign(agent=frame["label"].where(frame["label"] != "", frame["agent"]))


def regimes_of(runs: Runs) -> dict[str, str]:
    """The regime of each agent's finished runs, derived from their records (`analysis.regimes`)."""
    facts = facts_by_agent(runs.runs, finished(runs))
    return {agent: name_of(facts[agent]) for agent in agents_in_order(facts)}


def default_folder(runs: Runs, root: Path = SUBMISSIONS) -> Path:
    """Where these runs belong: `<root>/<regime>/<date>_<agent>/`, by their records; the date is that of the last one.

    Raises a UserError where no run is finished, and where the agents are of several regimes.
    """
    regimes = regimes_of(runs)
    if not regimes:
        raise UserError("there is no finished run to send; name a folder that holds some (--runs)")
    if len(set(regimes.values())) > 1:
        told = "; ".join(f"{agent}: {regime}" for agent, regime in regimes.items())
        raise UserError(f"these runs are of several regimes ({told}); send each with an --out of its own")
    agents = "+".join(regimes) if len(regimes) <= 3 else f"{len(regimes)}-agents"
    plain = re.sub(r"[^A-Za-z0-9_.+-]+", "-", agents)[:80]
    return root / folder_name(next(iter(regimes.values()))) / f"{last_day(finished(runs))}_{plain}"


def last_day(runs: pd.DataFrame) -> str:
    """The day of the last record of some runs, "2026-11-24"; today where they do not say."""
    days = [str(text)[:10] for text in runs["updated"] if re.match(r"\d{4}-\d\d-\d\d", str(text))]
    return max(days, default=f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d}")


def misplaced(folder: Path, regimes: dict[str, str]) -> list[str]:
    """A sentence for each agent that is not of the regime that the submission's folder claims to be of."""
    place = folder.absolute().parent
    if place.parent.name != SUBMISSIONS.name:
        return []
    return [
        f"it lies under '{place.name}', and {agent} is of the regime '{regime}'"
        for agent, regime in regimes.items()
        if folder_name(regime) != place.name
    ]


def submissions_under(folder: Path, index: str) -> list[Path]:
    """Every folder below one that says of itself that it is a submission, by an index of that name, sorted."""
    return sorted(path.parent for path in folder.rglob(index))
