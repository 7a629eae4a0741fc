"""Checking a submission: is it whole, is it what it says, and what should a person look at?

Nothing of it is run, and no file is opened before its name and size are known to be allowed.
"""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from analysis.reading.loading import Runs, load_runs
from analysis.reading.records import planned_steps
from analysis.submissions.card import card
from analysis.submissions.layout import (
    CARD,
    INDEX,
    MOST_FILE_BYTES,
    MOST_FILES,
    WORDS,
    Entry,
    entry_of,
    is_allowed,
    read_index,
    without_places,
)
from analysis.submissions.standing import finished, misplaced, regimes_of
from benchmark.common.errors import UserError
from benchmark.common.reading import Damaged, read_bytes
from benchmark.runs.reading import read_starts
from benchmark.runs.seeds import format_seeds
from envs.tasks import TASKS


@dataclass
class Verdict:
    """What was found."""

    faults: list[str] = field(default_factory=list)
    """A sentence for each reason to refuse it."""
    remarks: list[str] = field(default_factory=list)
    """A sentence for each thing that a reviewer should look at."""
    runs: Runs | None = None
    """What it holds, where its files are those that it lists."""
    regimes: dict[str, str] = field(default_factory=dict)
    """The regime of each agent, derived from the records."""


def verify(folder: Path) -> Verdict:
    """Check a submission. Raises a UserError for a folder that is none."""
    if not os.path.lexists(folder / INDEX):
        raise UserError(f"'{folder}' is no submission: it has no {INDEX}; python -m analysis.submit makes one")
    verdict = Verdict()
    try:
        entries = read_index(folder)
    except Damaged as error:
        verdict.faults.append(str(error.brief))
        return verdict
    verdict.faults += _wrong_files(folder, entries)
    if verdict.faults:  # what follows reads them
        return verdict
    verdict.runs = load_runs(folder, cache=False)
    verdict.faults += [*_wrong_runs(verdict.runs), *_wrong_rows(verdict.runs)]
    verdict.regimes = regimes_of(verdict.runs)
    verdict.faults += misplaced(folder, verdict.regimes)
    verdict.remarks += [*_remarks(verdict.runs), *_places(verdict.runs)]
    if not verdict.faults and CARD in entries and read_bytes(folder / CARD) != card(verdict.runs):
        verdict.remarks.append(f"{CARD} is not the one that its records make: read the records")
    return verdict


# ----------------------------------------------------------------------------------------------------- its files


def _wrong_files(folder: Path, entries: dict[str, Entry]) -> Iterator[str]:
    """What is there and should not be, is missing, or is not what the index says."""
    there = set()
    for number, (name, about) in enumerate(_files(folder)):
        if number >= MOST_FILES:
            yield f"it holds more than {MOST_FILES:,} files"
            return
        there.add(name)
        if not is_allowed(name):
            yield f"{name!r:.120} does not belong into a submission"
        elif not stat.S_ISREG(about.st_mode):
            yield f"{name} is no plain file"
        elif about.st_size > MOST_FILE_BYTES:
            yield f"{name} has {about.st_size:,} bytes; at most {MOST_FILE_BYTES:,} are allowed"
        elif name in entries:
            found = entry_of(read_bytes(folder / name) or b"")
            if found != entries[name]:
                yield f"{name} is not the file that {INDEX} lists: its size or digest differs"
        elif name not in (INDEX, WORDS):
            yield f"{name} is not listed in {INDEX}"
    yield from (f"{name} is listed in {INDEX} and missing" for name in sorted(entries.keys() - there))


def _files(folder: Path) -> Iterator[tuple[str, os.stat_result]]:
    """Every file below the folder, by its path relative to it; links are files, and not followed."""
    for place, folders, names in os.walk(folder, followlinks=False):
        for name in sorted([*names, *(inner for inner in folders if Path(place, inner).is_symlink())]):
            path = Path(place, name)
            yield path.relative_to(folder).as_posix(), path.lstat()


# ------------------------------------------------------------------------------------------------------ its runs


def _wrong_runs(runs: Runs) -> Iterator[str]:
    """Runs that are not finished, cannot be read, or are not where they should be; seeds that come twice."""
    if not len(runs):
        yield "it holds no run"
    for row in runs.runs.itertuples():
        if row.state == "unreadable":
            yield f"{row.run}: {row.error}"
            continue
        if row.state != "done":
            yield f"{row.run} is not finished: {row.state} at step {row.step} of {row.steps}"
        place = Path(row.run)
        asked = (row.label or row.agent, row.task, f"seeds-{format_seeds(row.seeds)}")
        if place.parts[-3:] != asked:
            yield f"{row.run} holds the run {'/'.join(asked)}"
        if row.task not in TASKS:
            yield f"{row.run} is of the task '{row.task:.80}', which is none of the benchmark's"
    readable = runs.runs[runs.runs["state"] != "unreadable"]
    seeds = Counter((row.label or row.agent, row.task, seed) for row in readable.itertuples() for seed in row.seeds)
    for (agent, task, seed), times in seeds.items():
        if times > 1:
            yield f"seed {seed} of {agent} on {task} is there {times} times"


def _wrong_rows(runs: Runs) -> Iterator[str]:
    """Rows that are no result of the run's protocol; rows that are missing make a run unreadable already."""
    for row in runs.runs[runs.runs["state"] == "done"].itertuples():
        own = runs.evaluations[runs.evaluations["run"] == row.run]
        length = row.protocol.get("steps", 0) + row.protocol.get("online_steps", 0)
        if not row.step == row.steps == length:
            yield f"{row.run}: done at step {row.step:,} of {row.steps:,}, which are not the {length:,} of its protocol"
        asked = planned_steps(row.protocol, int(row.steps), int(row.steps), done=True)
        # Before an online phase the last offline update is evaluated, too.
        also = {row.protocol.get("steps", 0)} | ({1} if row.protocol.get("eval_first") else set())
        also |= set(row.extended)  # where it ended before more updates were asked of it
        other = sorted(set(own["step"]) - asked - also)
        if other:
            yield f"{row.run}: evaluated at step {other[0]:,}, at which its protocol does not evaluate"
        if own.duplicated(["seed", "step"]).any():
            again = own[own.duplicated(["seed", "step"])].iloc[0]
            yield f"{row.run}: eval.csv has seed {again.seed} at step {again.step:,} more than once"
        if not np.isfinite(own[["success", "return", "length"]].to_numpy(float)).all():
            yield f"{row.run}: eval.csv holds what is no number"
        episodes = sorted(set(own["episodes"]) - {row.protocol.get("eval_episodes")})
        if episodes:
            yield f"{row.run}: evaluated over {episodes[0]} episodes, not the protocol's"


# ----------------------------------------------------------------------------------------- what a person looks at


def _remarks(runs: Runs) -> Iterator[str]:
    """What is no fault, and yet may be a reason to ask."""
    frame = finished(runs)
    for row in frame.itertuples():
        if not row.clean:
            yield f"{row.run}: made with changes that were not committed"
        if row.diverged:
            yield f"{row.run}: diverged: " + ", ".join(f"seed {seed}" for seed in sorted(row.diverged))
        if row.files:
            yield f"{row.run}: the agent's files are not in the project: {', '.join(sorted(row.files))}"
        if row.origin == "ours":
            yield f"{row.run}: hyperparameters are the sender's or the suite's, not the published ones"
    for what in ("commit", "mujoco", "jax", "device", "python"):
        yield from _several(frame, what)
    for task, part in frame.groupby("task", sort=True):
        yield from (f"{task}: {text}" for text in _several(part, "fingerprint"))
        seeds = part.groupby("agent")["seeds"].agg(lambda lists: sum(map(len, lists)))
        if seeds.nunique() > 1:
            few = ", ".join(f"{agent} {count}" for agent, count in seeds[seeds < seeds.max()].items())
            yield f"{task}: fewer seeds than the {seeds.max()} of others: {few}"


def _places(runs: Runs) -> Iterator[str]:
    """Records that name a place on the machine that made them, which `analysis.submit` leaves out."""
    for row in runs.runs[runs.runs["state"] == "done"].itertuples():
        starts = read_starts(Path(row.run) / "provenance.json")
        if [without_places(start) for start in starts] != starts:
            yield f"{row.run}: provenance.json names places on the machine that made it"


def _several(frame: pd.DataFrame, what: str) -> Iterator[str]:
    values = sorted({str(value) for value in frame[what].dropna()})
    if len(values) > 1:
        yield f"{len(values)} values of {what}: {', '.join(value[:19] for value in values[:4])}"
