"""One run's directory: what it says of itself, a row of the runs frame, and its measures.

`RUN_COLUMNS` are: run, folder, agent, task, domain, suite, seeds (tuple), state ("running", "done", "failed",
"unreadable"), step, steps, diverged ({seed: step}), error, updates_per_second, train_seconds, eval_seconds, started,
updated, commit, clean, code (digest of the code that made the numbers, "a+b" where other code went on with them), files
(digests of an agent's own files, {} of a built-in one), python, mujoco, jax, versions (dict), device, host, command,
dataset, fingerprint, source (of the dataset), transitions, environment (where a benchmark has several, such as D4RL's
original or its stand-in), reference_scores (D4RL's two, or None), hyperparameters (dict), origin (theirs: "published",
"derived" from published ones, "ours" or "default"; "" if not recorded), protocol (dict), label (what the person called
the run; "" without), start (digest of the networks of another run that it began with; "" without), extended (the
numbers of updates that it had before it was asked for more).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from analysis.names import domain_of
from benchmark.common.reading import Damaged
from benchmark.runs.reading import read_records

MEASURES = ("step", "seed", "episodes", "success", "return", "length")
RUN_COLUMNS = (
    *("run", "folder", "agent", "task", "domain", "suite", "seeds", "state", "step", "steps", "diverged", "error"),
    *("updates_per_second", "train_seconds", "eval_seconds", "started", "updated", "commit", "clean", "code", "files"),
    *("python", "mujoco", "jax", "versions", "device", "host", "command", "dataset", "fingerprint", "source"),
    *("transitions", "environment", "reference_scores", "hyperparameters", "origin", "protocol", "label", "start"),
    "extended",
)
TEXTS = (
    *("agent", "task", "domain", "suite", "origin", "label", "commit", "mujoco", "jax", "python", "device", "host"),
    *("environment", "code", "start"),
)
"""Columns that are "" where nothing is recorded; other fields are None."""


def read_run(path: str) -> tuple[dict[str, Any], np.ndarray]:
    """Read one run directory: a row of the runs frame (JSON values only) and its measures.

    A record that cannot be read makes the run "unreadable", with the reason in `error`.
    """
    row: dict[str, Any] = dict.fromkeys(RUN_COLUMNS) | dict.fromkeys(TEXTS, "")
    row |= {"seeds": [], "diverged": {}, "versions": {}, "hyperparameters": {}, "protocol": {}, "files": {}}
    row["extended"] = []
    row["clean"] = False
    block = np.empty((0, len(MEASURES)))
    try:
        records = read_records(Path(path))
        if records.config is None:
            why = str(records.status.get("error") or "").partition("\n")[0]
            raise Damaged(Path(path, "config.json"), f"missing; the run failed: {why}" if why else "missing")
        row.update(_config_fields(records.config))
        row.update(_provenance_fields(records.starts))
        row.update(_status_fields(records.status, row["protocol"]))
        measures = _read_measures(path)
        _check_measures(row, measures)
        block = measures
    except Damaged as error:
        row.update(state="unreadable", error=error.brief)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        reason = f"no field {error}" if isinstance(error, KeyError) else str(error)
        row.update(state="unreadable", error=reason.replace("\n", " "))
    return row, block


def _config_fields(config: dict[str, Any]) -> dict[str, Any]:
    """Return what the runs frame takes from config.json."""
    return {
        "agent": str(config["agent"]),
        "task": str(config["task"]),
        "domain": str(config.get("domain") or domain_of(config["task"])),
        "suite": str(config.get("suite") or ""),
        "seeds": [int(seed) for seed in config["seeds"]],
        "hyperparameters": dict(config.get("hyperparameters") or {}),
        "protocol": dict(config.get("protocol") or {}),
        "files": dict(config.get("code") or {}),
        "label": str(config.get("label") or ""),
        "start": str((config.get("start") or {}).get("digest", "")),
        "extended": [int(each["from"]) for each in config.get("extended") or []],
    }


def _provenance_fields(starts: list[dict[str, Any]]) -> dict[str, Any]:
    """Return what the runs frame takes from provenance.json; what changed between starts is joined by '+'."""
    if not starts:
        return {}

    def joined(values: list[Any]) -> str:
        return "+".join(dict.fromkeys(str(value) for value in values if value is not None))

    of_data = [start.get("dataset") or {} for start in starts]
    names = dict.fromkeys(name for start in starts for name in start.get("versions") or {})
    versions = {name: joined([(s.get("versions") or {}).get(name) for s in starts]) for name in names}
    fields: dict[str, Any] = {
        name: joined([start.get(name) for start in starts]) for name in ("commit", "python", "device", "host")
    }
    fields |= {name: joined([data.get(name) for data in of_data]) for name in ("fingerprint", "environment")}
    fields |= {name: of_data[-1].get(name) for name in ("source", "transitions", "reference_scores")}
    return fields | {
        "started": starts[0].get("time"),
        "clean": all(bool(start.get("clean")) for start in starts),
        "versions": versions,
        "mujoco": versions.get("mujoco", ""),
        "jax": versions.get("jax", ""),
        "command": starts[-1].get("command"),
        "dataset": of_data[-1].get("name"),
        "origin": _origin(starts[-1].get("hyperparameters") or {}),
    }


def _origin(origins: dict[str, str]) -> str:
    """Whose a run's hyperparameters are, all in all: those of the least published one, of where each comes from."""
    kinds = {str(text).partition(":")[0] for text in origins.values()}
    if kinds & {"ours", "suite", "set"}:
        return "ours"
    return next((kind for kind in ("derived", "published", "default") if kind in kinds), "")


def _status_fields(status: dict[str, Any], protocol: dict[str, Any]) -> dict[str, Any]:
    """Return what the runs frame takes from status.json; a run without one has not begun and is "running"."""
    fields = {name: status.get(name) for name in ("error", "updates_per_second", "train_seconds", "eval_seconds")}
    return fields | {
        "state": str(status.get("state") or "running"),
        "step": int(status.get("step") or 0),
        "steps": int(status.get("steps") or protocol.get("steps") or 0),
        "diverged": {str(int(seed)): int(step) for seed, step in (status.get("diverged") or {}).items()},
        "updated": status.get("updated"),
        "code": "+".join(str(digest)[:12] for digest in status.get("code") or []),
    }


def _read_measures(path: str) -> np.ndarray:
    """Read eval.csv into an array of shape (rows, 6), columns MEASURES; no file, no rows."""
    try:
        with open(f"{path}/eval.csv", encoding="utf-8") as file:
            header, *lines = file.read().splitlines() or [""]
    except FileNotFoundError:
        return np.empty((0, len(MEASURES)))
    if not header:
        return np.empty((0, len(MEASURES)))
    names = header.split(",")
    missing = [name for name in MEASURES if name not in names]
    if missing:
        raise ValueError(f"eval.csv: no column {', '.join(missing)}")
    places = [names.index(name) for name in MEASURES]
    block = np.empty((len(lines), len(MEASURES)))
    for i, line in enumerate(lines):
        cells = line.split(",")
        if len(cells) != len(names):
            raise ValueError(f"eval.csv: line {i + 2} has {len(cells)} of {len(names)} columns")
        block[i] = [float(cells[place] or "nan") for place in places]
    success = block[:, MEASURES.index("success")]
    if np.isnan(success).any():
        raise ValueError("eval.csv: a success that is no number")
    if np.any((success < 0) | (success > 1)):
        raise ValueError("eval.csv: a success outside [0, 1]")
    return block


def _check_measures(row: dict[str, Any], block: np.ndarray) -> None:
    """Raise a ValueError where eval.csv has rows of other seeds than the run's, or a finished run lacks evaluations."""
    places = block[:, [MEASURES.index(name) for name in ("seed", "step", "episodes")]]
    if not np.isfinite(places).all():
        raise ValueError("eval.csv: a row without a seed, step or number of episodes")
    found = [(int(seed), int(step)) for seed, step, _ in places]
    other = sorted({seed for seed, _ in found} - set(row["seeds"]))
    if other:
        raise ValueError(f"eval.csv: rows of seed {', '.join(map(str, other))}, which config.json does not name")
    if row["state"] != "done":
        return
    planned = planned_steps(row["protocol"], row["steps"], row["steps"], done=True)
    due = {(seed, step) for seed in row["seeds"] for step in planned}
    missing = sorted(
        (step, seed) for seed, step in due - set(found) if step < row["diverged"].get(str(seed), row["steps"] + 1)
    )
    if missing:
        step, seed = missing[0]
        raise ValueError(
            f"eval.csv: {len(missing)} of {len(due)} evaluations are missing, the first of seed {seed} at step {step}"
        )


def planned_steps(protocol: dict[str, Any], step: int, steps: int, done: bool) -> set[int]:
    """The steps up to `step` at which a protocol has a run of so many steps evaluated, its last too if it is done."""
    every = int(protocol.get("eval_every") or steps or 0)
    return set(range(every, step + 1, every) if every else ()) | ({steps} if done and steps else set())
