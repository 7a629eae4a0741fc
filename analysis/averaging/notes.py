"""What is said beside averages: whose hyperparameters, which commits and versions, which data."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pandas as pd

from analysis.names import ORIGINS, agents_in_order


def listed(names: Iterable[Any], most: int = 3) -> str:
    """Write how many there are and the first few."""
    names = [str(name) for name in names]
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return f"{len(names)} ({', '.join(names[:most])}{more})"


def of_origins(data: pd.DataFrame) -> list[str]:
    """Say which agents' hyperparameters are not published, with the signs that they have in tables."""
    what = {
        "ours": "are ours, not published",
        "derived": "are derived from published ones, not tuned for this",
        "default": "are the defaults, not tuned",
    }
    found = {kind: ", ".join(agents_in_order(data["agent"][data["origin"] == kind])) for kind in what}
    return [f"{ORIGINS[kind]} Hyperparameters {what[kind]}: {names}." for kind, names in found.items() if names]


def of_versions(usable: pd.DataFrame) -> list[str]:
    """Say which commits and versions are mixed, and which runs cannot be traced."""
    notes = []
    for name, title in (("commit", "commits"), ("mujoco", "versions of MuJoCo"), ("jax", "versions of jax")):
        counts = usable[name][usable[name].astype(bool)].value_counts()
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
