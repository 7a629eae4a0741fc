"""All runs under some folders as two tidy frames: incomplete, diverged, failed and unreadable ones too.

`Runs.evaluations` has a row per (run, seed, evaluation step): agent, task, domain, suite, seed, step (gradient updates
so far), success (in [0, 1]), return (undiscounted) and length (environment steps), all three means over the episodes,
episodes, source ("own"; imported figures of others say whose), run (path of its directory), state (of that seed:
"complete", "running", "failed" or "diverged"), commit (of the code; "a+b" where a run was continued by another commit,
"" if unknown), clean (bool, whether the checkout had no uncommitted change), and joined like the commit mujoco and jax
(versions) and device ("cpu: ...").

`Runs.runs` has one row per run directory; `analysis.reading.records` says what is in it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis.common.progress_bar import bar
from analysis.reading.cache import Entry, read_cache, signature, write_cache
from analysis.reading.records import MEASURES, RUN_COLUMNS, read_run
from benchmark.common.errors import UserError

EVALUATION_COLUMNS = (
    *("agent", "task", "domain", "suite", "seed", "step", "success", "return", "length", "episodes"),
    *("source", "run", "state", "commit", "clean", "mujoco", "jax", "device"),
)


@dataclass(frozen=True)
class Runs:
    """Everything that was found under some folders; the module's text says which columns."""

    evaluations: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=list(EVALUATION_COLUMNS)))
    runs: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=list(RUN_COLUMNS)))

    def __len__(self) -> int:
        """Number of run directories."""
        return len(self.runs)


def load_runs(*folders: str | Path, cache: bool = True) -> Runs:
    """Read all runs under the folders.

    Args:
        folders: each is a run directory or holds run directories at any depth.
        cache: keep what was read in `<folder>/.analysis-cache.npz`, by path, size and time of change of each
            record. The file can be deleted at any time; a folder that cannot be written does without.

    Raises:
        UserError: a folder that does not exist.
    """
    rows: list[dict[str, Any]] = []
    blocks: list[np.ndarray] = []
    seen: set[str] = set()
    for folder in map(Path, folders):
        if not folder.is_dir():
            raise UserError(f"no folder '{folder}'; name a folder that holds runs, e.g. runs/quickstart")
        for row, block in _read_folder(folder, cache):
            identity = os.path.realpath(row["run"])
            if identity not in seen:
                seen.add(identity)
                rows.append(row)
                blocks.append(block)
    runs = pd.DataFrame(rows, columns=list(RUN_COLUMNS))
    return Runs(_evaluations(rows, blocks), runs)


def read_training(run: str | Path) -> pd.DataFrame:
    """Read a run's `train.csv`: step, seed and one column per metric, one row per (logging step, seed)."""
    return pd.read_csv(Path(run) / "train.csv")


def _evaluations(rows: list[dict[str, Any]], blocks: list[np.ndarray]) -> pd.DataFrame:
    """Put the runs' measures (each of shape (n, 6), columns MEASURES) into the evaluations frame."""
    counts = [len(block) for block in blocks]
    data = np.concatenate(blocks) if blocks else np.empty((0, len(MEASURES)))
    columns: dict[str, Any] = {name: data[:, i] for i, name in enumerate(MEASURES)}
    for name in ("step", "seed", "episodes"):
        columns[name] = columns[name].astype(np.int64)
    for name in ("agent", "task", "domain", "suite", "run", "commit", "mujoco", "jax", "device"):
        columns[name] = np.repeat(np.array([row[name] for row in rows], dtype=object), counts)
    columns["clean"] = np.repeat(np.array([row["clean"] for row in rows], dtype=bool), counts)
    columns["source"] = "own"
    states = [_seed_states(row, block) for row, block in zip(rows, blocks, strict=True)]
    columns["state"] = np.concatenate(states) if states else np.empty(0, dtype=object)
    return pd.DataFrame(columns)[list(EVALUATION_COLUMNS)]


def _seed_states(row: dict[str, Any], block: np.ndarray) -> np.ndarray:
    """Return the state of the seed in each row of the block."""
    whole = {"done": "complete", "running": "running"}.get(row["state"], "failed")
    states = np.full(len(block), whole, dtype=object)
    if row["diverged"]:
        states[np.isin(block[:, MEASURES.index("seed")], list(row["diverged"]))] = "diverged"
    return states


def _read_folder(folder: Path, cache: bool) -> Iterator[tuple[dict[str, Any], np.ndarray]]:
    """Yield (row, measures) of every run under the folder, from its cache where records did not change."""
    kept = read_cache(folder) if cache else {}
    fresh: dict[str, Entry] = {}
    for path in bar(sorted(_run_directories(str(folder))), "reading runs", fewest=500):
        relative = os.path.relpath(path, folder)
        now = signature(path)
        entry = kept.get(relative)
        fresh[relative] = entry if entry and entry[0] == now else (now, *read_run(path))
    # What cannot be read is not kept: rights to read, for one, may change with no record changing.
    good = {path: entry for path, entry in fresh.items() if entry[1]["state"] != "unreadable"}
    if cache and (good.keys() != kept.keys() or any(good[path] is not kept[path] for path in good)):
        write_cache(folder, good)
    for relative, (_, row, block) in fresh.items():
        placed = dict(row, run=os.path.normpath(folder / relative), folder=str(folder))
        placed["seeds"] = tuple(row["seeds"])
        placed["diverged"] = {int(seed): step for seed, step in row["diverged"].items()}
        yield placed, block


def _run_directories(folder: str) -> Iterator[str]:
    """Yield every directory at or below `folder` that holds records of a run; nothing below a config.json is seen."""
    pending = [folder]
    while pending:
        current = pending.pop()
        try:
            with os.scandir(current) as listing:
                entries = list(listing)
        except OSError:
            continue
        names = {entry.name for entry in entries}
        if names & {"config.json", "provenance.json", "status.json"}:
            yield current
        if "config.json" not in names:
            folders = (entry for entry in entries if entry.is_dir(follow_symlinks=False))
            pending += [entry.path for entry in folders if not entry.name.startswith(".")]
