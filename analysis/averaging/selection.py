"""What may be averaged of the runs that were found."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pandas as pd

from analysis.averaging.experiments import kind_of, listed, named_experiments
from analysis.averaging.results import Results
from analysis.names import GENERATED, ORIGINS, agents_in_order
from analysis.reading.loading import Runs
from analysis.reading.records import planned_steps
from analysis.regimes import facts_by_agent, name_of


def comparable(
    runs: Runs,
    incomplete: Literal["exclude", "include"] = "exclude",
    diverged: Literal["zero", "exclude"] = "zero",
    mixed: Literal["separate", "pool"] = "separate",
    last: int = 1,
) -> Results:
    """Take from the runs what may be averaged.

    Args:
        incomplete: a run that is not "done" has no final score; it is left out unless "include".
        diverged: a seed whose loss became NaN or infinite. "zero" counts it as success 0 at the evaluations
            after that: leaving it out would report a method on the seeds it happened to survive. "exclude"
            leaves the whole seed out.
        mixed: runs of one agent on one task that are not the same experiment (other hyperparameters, protocol,
            dataset, environment, OGBench or MuJoCo). "separate" gives each its own agent name, "rql (quickstart)" where
            the suites tell them apart, else by what differs, "rql (alpha=3)"; "pool" averages them. Runs that differ in
            commit or in other packages only are averaged, with a note. A run with a label is "rql (its label)" in any
            case.
        last: evaluations that a score is the mean of: 1 is the final one, 3 the last three.

    Returns:
        The results; their notes say everything that was done. A task learned from data that were generated here has
        a name of its own, "<task> (generated data)": its figures do not compare with those from the published files.
    """
    notes: list[str] = []
    table = runs.runs
    generated = table["source"] == "generated"
    table = table.assign(
        task=[f"{task}{GENERATED * made}" for task, made in zip(table["task"], generated, strict=True)]
    )
    unreadable = table["state"] == "unreadable"
    if unreadable.any():
        told = listed(f"{row.run}: {row.error}" for row in table[unreadable].itertuples())
        notes.append(f"Left out, records not readable: {told}.")
    unfinished = ~table["state"].isin(["done", "unreadable"])
    if unfinished.any():
        what = "Included though" if incomplete == "include" else "Left out because"
        notes.append(f"{what} not finished: {listed(table['run'][unfinished])}.")
    usable = table[~unreadable & (~unfinished if incomplete == "exclude" else True)]
    data = runs.evaluations[runs.evaluations["run"].isin(usable["run"])]
    tasks = dict(zip(table["run"], table["task"], strict=True))
    data = data.assign(task=data["run"].map(tasks).astype(object), imputed=False)
    usable, data = _without_duplicates(usable, data, notes)
    data = _diverged(usable, data, diverged, notes)
    data = data.assign(origin=data["run"].map(dict(zip(runs.runs["run"], runs.runs["origin"], strict=True))))
    data = named_experiments(usable, data, mixed, notes)
    regimes = {agent: name_of(facts) for agent, facts in facts_by_agent(table, data).items()}
    data = data.assign(regime=data["agent"].map(regimes).astype(object))
    notes += [*_origins(data), *_versions(usable)]
    return Results(data.reset_index(drop=True), notes, runs, last)


def _without_duplicates(
    usable: pd.DataFrame, data: pd.DataFrame, notes: list[str]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Keep one of several copies of a seed of the same experiment: the one whose run was updated last."""
    owner: dict[tuple[Any, ...], str] = {}
    losers: list[tuple[str, int]] = []
    ordered = usable.assign(order=usable["updated"].fillna("").astype(str)).sort_values("order", kind="stable")
    for row in ordered.itertuples():
        experiment = kind_of(row)
        for seed in row.seeds:
            key = (row.agent, row.task, seed, experiment)
            if key in owner:
                losers.append((owner[key], seed))
            owner[key] = row.run
    if not losers:
        return usable, data
    notes.append(
        "Counted once, the latest, though run more than once: "
        f"{listed(f'seed {seed} of {run}' for run, seed in losers)}."
    )
    gone = set(losers)
    keep = [pair not in gone for pair in zip(data["run"], data["seed"], strict=True)]
    data = data[keep]
    left = usable.assign(seeds=[tuple(s for s in row.seeds if (row.run, s) not in gone) for row in usable.itertuples()])
    return left[left["seeds"].map(len) > 0], data


def _diverged(usable: pd.DataFrame, data: pd.DataFrame, policy: str, notes: list[str]) -> pd.DataFrame:
    """Fill in or leave out the seeds that diverged."""
    named, filled, gone = [], [], set()
    for row in usable[usable["diverged"].map(bool)].itertuples():
        own = data[data["run"] == row.run]
        for seed in (seed for seed in row.diverged if seed in row.seeds):
            named.append(f"{row.agent} on {row.task} seed {seed} at step {row.diverged[seed]:,}")
            gone.add((row.run, seed))
            have = own[own["seed"] == seed]
            steps = [s for s in _evaluation_steps(row, own) if s not in set(have["step"])]
            shared = {name: getattr(row, name) for name in ("agent", "task", "domain", "suite", "run")}
            shared |= {name: getattr(row, name) for name in ("commit", "clean", "mujoco", "jax", "device")}
            shared |= {"seed": seed, "success": 0.0, "return": np.nan, "length": np.nan, "episodes": 0}
            filled.append(
                pd.DataFrame({"step": steps} | shared | {"source": "own", "state": "diverged", "imputed": True})
            )
    if not named:
        return data
    how = "counted as success 0 from there on" if policy == "zero" else "left out"
    notes.append(f"Diverged seeds, {how}: {listed(named)}.")
    if policy == "exclude":
        return data[[pair not in gone for pair in zip(data["run"], data["seed"], strict=True)]]
    filled = [part for part in filled if len(part)]
    return pd.concat([data, *(part[data.columns] for part in filled)], ignore_index=True)


def _evaluation_steps(row: Any, own: pd.DataFrame) -> list[int]:
    """The steps at which the run's seeds were evaluated: by its protocol as far as it got, and any seed's."""
    planned = planned_steps(row.protocol, int(row.step), int(row.steps), row.state == "done")
    return sorted(planned | set(own["step"].tolist()))


def _origins(data: pd.DataFrame) -> list[str]:
    """Say which agents' hyperparameters are not published, with the signs that they have in tables."""
    what = {
        "ours": "are ours, not published",
        "derived": "are derived from published ones, not tuned for this",
        "default": "are the defaults, not tuned",
    }
    found = {kind: ", ".join(agents_in_order(data["agent"][data["origin"] == kind])) for kind in what}
    return [f"{ORIGINS[kind]} Hyperparameters {what[kind]}: {names}." for kind, names in found.items() if names]


def _versions(usable: pd.DataFrame) -> list[str]:
    """Say which commits and versions are mixed, and which runs cannot be traced."""
    notes = []
    ogbench = usable["versions"].map(lambda versions: (versions or {}).get("ogbench", ""))
    made = {"commits": usable["commit"], "versions of MuJoCo": usable["mujoco"], "versions of jax": usable["jax"]}
    for title, column in (made | {"versions of OGBench": ogbench}).items():
        counts = column[column.astype(bool)].value_counts()
        if len(counts) > 1:
            kinds = listed(f"{str(value)[:25]}: {count} runs" for value, count in counts.items())
            notes.append(f"Runs of different {title} stand side by side: {kinds}.")
    several = usable["run"][usable["code"].str.contains("+", regex=False)]
    if len(several):
        notes.append(
            f"Begun by one code and continued by another, so that their numbers are of both: {listed(several)}."
        )
    known = usable[usable["code"].astype(bool)]
    for agent, counts in known.groupby("agent")["code"].value_counts().groupby(level=0):
        if len(counts) > 1:
            kinds = listed(f"{code}: {count} runs" for (_, code), count in counts.items())
            notes.append(f"Runs of {agent} by different code stand side by side: {kinds}.")
    generated = int((usable["source"] == "generated").sum())
    if generated:
        notes.append(f"{generated} of {len(usable)} runs trained on data generated here, not on the published files.")
    for environment, some in usable[usable["environment"].astype(bool)].groupby("environment"):
        notes.append(f"Environment of {some['task'].nunique()} tasks ({len(some)} runs): {environment}.")
    untraced = int((~usable["commit"].astype(bool)).sum())
    if untraced:
        notes.append(f"{untraced} of {len(usable)} runs have no commit recorded.")
    changed = int((usable["commit"].astype(bool) & ~usable["clean"].astype(bool)).sum())
    if changed:
        notes.append(f"{changed} of {len(usable)} runs were made with uncommitted changes.")
    return notes
