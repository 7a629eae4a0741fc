"""Under which regime the runs of a submission were made, and the folder that it therefore belongs into."""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.names import agents_in_order
from analysis.published import FOLDER
from analysis.reading.loading import Runs
from analysis.regimes import facts_by_agent, folder_name, name_of
from analysis.submissions.layout import INDEX
from benchmark.common.errors import UserError
from benchmark.runs.reading import read_starts

RESULTS = FOLDER.parent
SUBMISSIONS = RESULTS / "submissions"
"""Where submissions of others are: `<regime>/<date>_<agent>/`."""


def by_folder(frame: pd.DataFrame) -> pd.DataFrame:
    """Rows of `Runs.runs` with each agent under the name of its folder: its label, where it has one."""
    return frame.assign(agent=frame["label"].where(frame["label"] != "", frame["agent"]))


def finished(runs: Runs) -> pd.DataFrame:
    """The runs that are done, as `by_folder` has them."""
    return by_folder(runs.runs[runs.runs["state"] == "done"])


def regimes_of(runs: Runs) -> dict[str, str]:
    """The regime of each agent's finished runs, derived from their records (`analysis.regimes`)."""
    facts = facts_by_agent(runs.runs, finished(runs))
    return {agent: name_of(facts[agent]) for agent in agents_in_order(facts)}


def default_folder(runs: Runs, root: Path = SUBMISSIONS) -> Path:
    """Where these runs belong, by their records: the submission of their regime that has one of them, else
    `<root>/<regime>/<date>_<agent>/`, where the date is that of the last one.

    Raises a UserError where no run is finished, where the agents are of several regimes, and where several submissions
    have some of the runs.
    """
    regimes = regimes_of(runs)
    if not regimes:
        raise UserError("there is no finished run to send; name a folder that holds some (--runs)")
    if len(set(regimes.values())) > 1:
        told = "; ".join(f"{agent}: {regime}" for agent, regime in regimes.items())
        raise UserError(f"these runs are of several regimes ({told}); send each with an --out of its own")
    place = root / folder_name(next(iter(regimes.values())))
    known = [folder for folder in submissions_under(place, INDEX) if _has_one(folder, finished(runs)["run"])]
    if len(known) > 1:
        raise UserError(f"{' and '.join(map(str, known))} have some of these runs each; name one of them by --out")
    if known:
        return known[0]
    agents = "+".join(regimes) if len(regimes) <= 3 else f"{len(regimes)}-agents"
    plain = re.sub(r"[^A-Za-z0-9_.+-]+", "-", agents)[:80]
    return place / f"{last_day(finished(runs))}_{plain}"


def _has_one(submission: Path, runs: Iterable[str]) -> bool:
    """Whether a submission has one of some runs, which others may have run too: it was begun at the same time."""

    def first(run: Path) -> tuple[Any, ...] | None:
        starts = read_starts(run / "provenance.json")
        return tuple(starts[0].get(name) for name in ("time", "commit", "code")) if starts else None

    places = {run: submission.joinpath(*Path(run).parts[-3:]) for run in runs}
    return any(first(there) == first(Path(run)) for run, there in places.items() if first(there))


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
