"""What stands on the leaderboard: published figures and submissions, each with its regime and its evidence."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from analysis import published
from analysis.averaging.results import Results
from analysis.averaging.selection import comparable
from analysis.averaging.statistics import domain_means, overall_means, task_means
from analysis.names import DOMAINS, TASKS, agents_in_order, label
from analysis.regimes import named
from analysis.submissions.checking import verify
from analysis.submissions.layout import INDEX
from analysis.submissions.standing import last_day, submissions_under
from benchmark.common.errors import UserError
from benchmark.runs.seeds import format_seeds

AVERAGE = "average"
"""The column of the mean over all fifty tasks; newer papers' figures have "all"."""
PAPERS = {published.RQL_PAPER: "arXiv 2606.17551", published.QAM_ARCHIVE: "arXiv 2601.14234"}
FILES = {
    "domain": "rql_table1_by_domain.csv",
    published.RQL_PAPER: "rql_table1_rql_by_task.csv",
    published.QAM_ARCHIVE: "qam_offline_1m_by_task.csv",
    "newer": "newer_by_domain.csv",
}
LONGEST = 200
"""Characters of a text from a submission that are shown."""


@dataclass(frozen=True)
class Figure:
    """A success, as a fraction, with its interval (NaN where there is none) and its evidence."""

    mean: float
    low: float = math.nan
    high: float = math.nan
    evidence: str = ""
    """Where it is read from, or how it is made."""
    seeds: tuple[tuple[int, float], ...] = ()
    """Each seed's, where records have them."""
    digits: int = 1
    """After the point, of percent: none where the source has none."""


@dataclass
class Entry:
    """A row: an agent by one source, under one regime."""

    agent: str
    source: str
    regime: str
    seeds: str
    date: str
    """Of the paper ("2026-06"), or of the last run."""
    versions: str = ""
    about: list[tuple[str, str]] = field(default_factory=list)
    files: list[Path] = field(default_factory=list)
    """What the figures are read from."""
    cells: dict[str, Figure] = field(default_factory=dict)
    """By `AVERAGE` and domain; only where all of its tasks have a figure."""
    tasks: dict[str, Figure] = field(default_factory=dict)


def combined(figures: Iterable[Figure]) -> Figure:
    """The mean of some figures; their intervals are taken to be independent, which those over seeds are."""
    some = list(figures)
    mean = sum(one.mean for one in some) / len(some)
    below, above = (
        math.hypot(*(one.mean - one.low for one in some)) / len(some),
        math.hypot(*(one.high - one.mean for one in some)) / len(some),
    )
    text = f"mean of {len(some)} figures, their intervals taken as independent"
    return Figure(mean, mean - below, mean + above, text)


def published_entries() -> list[Entry]:
    """The tables of `results/published/`."""
    return [*_rql_table(), *_archive(), *_newer()]


def _published(agent: str, source: str, regime: str, seeds: str, *files: str) -> Entry:
    """An entry of a published source; the date is the month that its arXiv number names."""
    told = f"{source} {PAPERS.get(source, '')}"
    found = re.search(r"arXiv (\d\d)(\d\d)\.", told) or re.search(r"arXiv (\d\d)(\d\d)\.", named()[regime].source)
    date = f"20{found[1]}-{found[2]}" if found else ""
    paths = [published.FOLDER / file for file in files]
    return Entry(label(agent), source, regime, seeds, date, about=[("source", told.strip())], files=paths)


def _line(place: int, file: str) -> str:
    return f"line {place + 2} of {file}"


def _whole(success: float, evidence: str) -> Figure:
    return Figure(success, evidence=evidence, digits=0)


def _rql_table() -> Iterator[Entry]:
    table, tasks = published.by_domain(), published.by_task()
    for agent in agents_in_order(table["agent"]):
        rows = table[table["agent"] == agent]
        own = tasks[(tasks["agent"] == agent) & (tasks["source"] == published.RQL_PAPER)].reset_index(drop=True)
        files = [FILES["domain"], *([FILES[published.RQL_PAPER]] if len(own) else [])]
        entry = _published(agent, published.RQL_PAPER, rows["regime"].iloc[0], "", *files)
        entry.cells = {r.domain: _whole(r.success, _line(r.Index, FILES["domain"])) for r in rows.itertuples()}
        entry.tasks = {r.task: _whole(r.success, _line(r.Index, FILES[published.RQL_PAPER])) for r in own.itertuples()}
        entry.cells[AVERAGE] = Figure(rows["success"].mean(), evidence="mean of the ten domains' figures")
        yield entry


def _archive() -> Iterator[Entry]:
    table = published.by_task()
    table = table[table["source"] == published.QAM_ARCHIVE].reset_index(drop=True)
    file = FILES[published.QAM_ARCHIVE]
    for agent in agents_in_order(table["agent"]):
        rows = table[table["agent"] == agent]
        seeds = f"{int(rows['seeds'].min())} per task"
        entry = _published(agent, published.QAM_ARCHIVE, rows["regime"].iloc[0], seeds, file)
        entry.tasks = {r.task: Figure(r.success, r.low, r.high, _line(r.Index, file)) for r in rows.itertuples()}
        for domain, some in rows.groupby("domain"):
            entry.cells[str(domain)] = combined(entry.tasks[task] for task in some["task"])
        entry.cells[AVERAGE] = combined(entry.tasks.values())
        yield entry


def _newer() -> Iterator[Entry]:
    table = published.newer()
    for (agent, regime, source), rows in table.groupby(["agent", "regime", "source"], sort=False):
        entry = _published(agent, source, regime, "", FILES["newer"])
        for row in rows.itertuples():
            evidence = _line(row.Index, FILES["newer"])
            if not math.isnan(row.spread):
                evidence += f"; standard deviation over seeds {100 * row.spread:.0f}"
            entry.cells[AVERAGE if row.domain == "all" else row.domain] = _whole(row.success, evidence)
        yield entry


def submitted_entries(root: Path) -> tuple[list[Entry], list[tuple[str, list[str]]]]:
    """The submissions below a folder of results, and those that are refused, with their faults."""
    entries: list[Entry] = []
    refused: list[tuple[str, list[str]]] = []
    for folder in submissions_under(root, INDEX):
        name = folder.relative_to(root).as_posix()
        verdict = verify(folder)
        faults = list(verdict.faults)
        if not faults and verdict.runs is not None:
            try:
                entries += _of_submission(comparable(verdict.runs), folder, name, verdict.remarks)
            except UserError as error:
                faults = [f"it cannot be averaged: {error}"]
        if faults:
            refused.append((_short(name), [_short(_within(fault, folder)) for fault in faults]))
    return entries, refused


def _short(text: object) -> str:
    return str(text)[:LONGEST]


def _within(text: str, folder: Path) -> str:
    """A sentence about a submission without where it lies on this machine."""
    return text.replace(f"{folder}/", "")


def _of_submission(results: Results, folder: Path, name: str, remarks: list[str]) -> Iterator[Entry]:
    """A row for each agent of a submission."""
    scores, runs = results.scores, results.runs.runs.set_index("run")
    for agent in agents_in_order(scores["agent"]):
        own = scores[scores["agent"] == agent]
        rows = runs.loc[results.evaluations["run"][results.evaluations["agent"] == agent].unique()]
        counts = own.groupby("task")["seed"].nunique()
        several = "" if counts.min() == counts.max() else f" to {counts.max()}"
        about = [("submission", name), ("seeds", format_seeds({int(seed) for seed in own["seed"]}))]
        for what in ("commit", "clean", "python", "jax", "mujoco", "device", "dataset", "fingerprint", "origin"):
            about.append((what, ", ".join(sorted({str(value) for value in rows[what] if value not in (None, "")}))))
        about += [("note", _within(text, folder)) for text in (*results.notes, *remarks)][:20]
        short = "+".join(sorted({text[:8] for text in rows["commit"] if text}))
        versions = ", ".join(filter(None, (short, *(f"MuJoCo {text}" for text in sorted(set(rows["mujoco"])) if text))))
        entry = Entry(
            *(_short(label(agent)), f"submission {_short(folder.name)}", own["regime"].iloc[0]),
            *(f"{counts.min()}{several} per task", last_day(rows), _short(versions)),
            about=[(what, _short(text)) for what, text in about],
            files=[folder / INDEX],
        )
        entry.tasks = {row.task: _figure(row, own) for row in task_means(own).itertuples()}
        # Nothing is averaged over tasks of several regimes.
        known = own[own["task"].isin(() if agent in results.of_several_regimes else TASKS)]
        for row in domain_means(known).itertuples():
            if row.tasks == len(TASKS) // len(DOMAINS):
                entry.cells[row.domain] = _figure(row)
        if known["task"].nunique() == len(TASKS):
            entry.cells[AVERAGE] = _figure(next(overall_means(known).itertuples()))
        yield entry


def _figure(row: Any, scores: pd.DataFrame | None = None) -> Figure:
    """A figure of a row of means, with each seed's where it is of one task of some scores."""
    if scores is None:
        return Figure(row.mean, row.low, row.high, f"mean of {row.tasks} tasks' means, Student's interval")
    own = scores[scores["task"] == row.task]
    seeds = tuple((int(seed), float(score)) for seed, score in zip(own["seed"], own["score"], strict=True))
    return Figure(row.mean, row.low, row.high, "mean over seeds, Student's interval", seeds)
