"""The archive of the QAM paper (arXiv 2601.14234): curves per seed of 16 baselines, from its pickle or a CSV."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from agents.roster import PAPER_AGENTS
from analysis.names import AGENT_LABELS, DOMAINS, TASKS, domain_of
from analysis.published import QAM_ARCHIVE
from analysis.reading.loading import EVALUATION_COLUMNS
from analysis.reading.pickled import check_file, read_arrays
from benchmark.common.errors import UserError, nearest
from benchmark.common.files import write_text

EVAL_EVERY = 50_000
OFFLINE, ONLINE = 20, 10
"""Evaluations in the offline phase (to 1M updates) and in the online phase after it (to 1.5M)."""
EPISODES = 50
LABELS: dict[str, str] = {
    AGENT_LABELS[agent]: agent for agent in PAPER_AGENTS if agent not in ("rql", "tfql", "bdpo", "diffusion_ql")
}
"""The archive's method labels (they are our labels in print) to agent names."""
NOT_OURS = {"RLPD": "trains online from scratch and is not one of the 20 agents"}


@dataclass(frozen=True)
class Archive:
    """What an archive holds."""

    curves: pd.DataFrame
    """Columns of `Runs.evaluations`; length and return are NaN, provenance is empty."""
    notes: list[str]
    """One sentence per thing left out."""


def read_archive(path: str | Path, online: bool = False) -> Archive:
    """Read the archive into per-seed curves.

    Args:
        path: the pickle.
        online: take the online phase too (steps above 1M); without it a curve ends at 1M updates, where the
            published figures were taken.

    Raises:
        UserError: what `read_arrays` refuses; a label, task or shape that is not known; values outside [0, 1]; a
            domain's or the overall entry that is not the mean of its tasks.
    """
    arrays = read_arrays(path)
    _check(path, arrays)
    evaluations = OFFLINE + (ONLINE if online else 0)
    parts = []
    for (task, label), values in arrays.items():
        if task in TASKS and label in LABELS:
            used = values[:evaluations]
            steps, seeds = np.indices(used.shape)
            columns: dict[str, Any] = {"agent": LABELS[label], "task": task, "domain": domain_of(task), "suite": "qam"}
            columns |= {"seed": seeds.ravel(), "step": (steps.ravel() + 1) * EVAL_EVERY, "success": used.ravel()}
            parts.append(pd.DataFrame(columns))
    if not parts:
        raise UserError(f"'{path}': no task of any agent in it")
    curves = pd.concat(parts, ignore_index=True).assign(
        **{"return": np.nan, "length": np.nan, "episodes": EPISODES, "source": QAM_ARCHIVE, "run": str(path)},
        **{"state": "complete", "commit": "", "clean": False, "mujoco": "", "jax": "", "device": ""},
    )
    notes = [f"{label} left out: it {why}." for label, why in NOT_OURS.items() if any(label == k[1] for k in arrays)]
    grouped = sum(key[0] not in TASKS for key in arrays)
    if grouped:
        notes.append(
            f"{grouped} entries for domains and 'all' left out: they are means of the tasks', whose seeds are "
            "ordered differently, so that seeds must not be paired across tasks."
        )
    return Archive(curves, notes)


def _check(path: str | Path, arrays: dict[tuple[str, str], np.ndarray]) -> None:
    """Raise a UserError for anything in the archive that is not known."""
    groups = (*TASKS, *DOMAINS, "all")
    for (group, label), values in arrays.items():
        if label not in LABELS and label not in NOT_OURS:
            raise UserError(f"'{path}': unknown method {label!r}{nearest(label, LABELS)}; it is not guessed")
        if group not in groups:
            raise UserError(f"'{path}': unknown task or domain {group!r}{nearest(group, groups)}; it is not guessed")
        rows = ONLINE if label in NOT_OURS else OFFLINE + ONLINE
        if values.ndim != 2 or values.shape[0] != rows or values.shape[1] < 1:
            raise UserError(f"'{path}': {group}, {label}: shape {values.shape} instead of ({rows}, seeds)")
        if not np.all((values >= 0) & (values <= 1)):
            raise UserError(f"'{path}': {group}, {label}: a success outside [0, 1]")
    for (group, label), values in arrays.items():
        members = [arrays.get((task, label)) for task in TASKS if group in ("all", domain_of(task))]
        if members and all(member is not None for member in members):
            mean = np.mean([member.mean(axis=1) for member in members if member is not None], axis=0)
            if not np.allclose(values.mean(axis=1), mean, atol=1e-6):
                raise UserError(f"'{path}': {group}, {label}: not the mean of its tasks")


def read_curves(path: str | Path) -> pd.DataFrame:
    """Read curves up to 1M updates from the archive itself or from the CSV that `write_csv` makes of it.

    Raises:
        UserError: what `read_archive` refuses, or a CSV that `write_csv` did not write.
    """
    if Path(path).suffix != ".csv":
        return read_archive(path).curves
    check_file(path)
    try:
        curves = pd.read_csv(path, keep_default_na=False, na_values={"return": "", "length": ""})
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read '{path}': {getattr(error, 'strerror', None) or error}") from error
    missing = [name for name in EVALUATION_COLUMNS if name not in curves and name != "run"]
    if missing:
        raise UserError(f"'{path}' has no column {', '.join(missing)}; make it with python -m analysis.import_archive")
    numbers = all(np.issubdtype(curves[name].dtype, np.number) for name in ("seed", "step", "success"))
    if not numbers or not curves["success"].between(0, 1).all():
        raise UserError(f"'{path}': seed, step and success must be numbers, success in [0, 1]")
    unknown = [task for task in curves["task"].unique() if task not in TASKS]
    if unknown:
        raise UserError(f"'{path}': unknown task {unknown[0]!r}{nearest(unknown[0], TASKS)}; it is not guessed")
    return curves[curves["step"] <= OFFLINE * EVAL_EVERY].assign(run=str(path))


def write_csv(curves: pd.DataFrame, path: str | Path) -> None:
    """Write the curves, replacing the file in one step."""
    write_text(Path(path), curves.drop(columns="run").to_csv(index=False))
