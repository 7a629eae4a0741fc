"""The run store: one directory a run, plain files, written atomically.

    <out>/<agent>/<task>/seeds-<seeds>/
        config.json      what was asked: agent, task, seeds, every hyperparameter, the protocol
        provenance.json  what made it, an entry for every start: commit, versions, device, dataset
        train.csv        step, seed, metrics: one row per (logging step, seed)
        eval.csv         step, seed, episodes, success, return, length
        status.json      state, step, rate, diverged seeds, error
        checkpoints/     the last two

A table is rewritten whole (through a temporary file and a rename), so that it is never cut in half; it is written
before the checkpoint of the same step. A resumed run drops the rows after its checkpoint and makes them again.
"""

from __future__ import annotations

import contextlib
import csv
import datetime
import fcntl
import json
import math
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from benchmark.errors import UserError
from benchmark.reading import Damaged, read_json, read_starts, read_status, without_waiting

SCHEMA = 1
LOCK_SECONDS = 1.0
"""How long to wait for a run's lock: whoever only looks whether it is held lets go of it at once."""


class Busy(UserError):
    """Another process is writing this run."""


def run_directory(out: Path, agent: str, task: str, seeds: str) -> Path:
    """Where a run lives; `seeds` as `format_seeds` writes them."""
    return out / agent / task / f"seeds-{seeds}"


def format_seeds(seeds: Iterable[int]) -> str:
    """The inverse of `benchmark.configure.parse_seeds`: (0, 1, 2, 3, 7) becomes "0-3,7"."""
    parts: list[list[int]] = []
    for seed in sorted(seeds):
        if parts and seed == parts[-1][-1] + 1:
            parts[-1].append(seed)
        else:
            parts.append([seed])
    return ",".join(str(part[0]) if len(part) == 1 else f"{part[0]}-{part[-1]}" for part in parts)


def write_text(path: Path, text: str) -> None:
    """Replace a file by `text` atomically."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_text(text)
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise UserError(f"cannot write {path}: {error.strerror or error}") from error


def write_json(path: Path, value: Any) -> None:
    """Replace a JSON file atomically."""
    write_text(path, json.dumps(value, indent=1) + "\n")


def now() -> str:
    """The time, to the second, in UTC."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


class Table:
    """Rows of (step, seed, values), kept in memory and mirrored in a CSV file."""

    def __init__(self, path: Path):
        """Read what is there."""
        self.path = path
        self.rows: list[dict[str, Any]] = []
        if path.is_file():
            with path.open(newline="") as file:
                self.rows = [_numbers(row) for row in csv.DictReader(file)]

    def keep_until(self, step: int) -> None:
        """Drop the rows of later steps."""
        self.rows = [row for row in self.rows if row["step"] <= step]

    def add(self, step: int, seed: int, values: dict[str, float]) -> None:
        """Append a row; `save` writes it."""
        self.rows.append({"step": step, "seed": seed, **values})

    def save(self) -> None:
        """Write the file."""
        columns = list(dict.fromkeys(name for row in self.rows for name in row))
        lines = [",".join(columns)]
        lines += [",".join(_text(row.get(name)) for name in columns) for row in self.rows]
        write_text(self.path, "\n".join(lines) + "\n")


def _numbers(row: dict[str, str]) -> dict[str, Any]:
    whole = {"step", "seed", "episodes"}
    return {name: int(text) if name in whole else float(text) for name, text in row.items() if text != ""}


def _text(value: float | int | None) -> str:
    """A float32's shortest text that reads back to the same number."""
    if value is None:
        return ""
    return str(value) if isinstance(value, int) else f"{value:.9g}"


class RunDirectory:
    """One run's files. Use as a context manager: it holds the run's lock, which a dead process releases."""

    def __init__(self, path: Path):
        """`path` need not exist yet."""
        self.path = path
        self.lock = FileLock(path / ".lock")

    @property
    def checkpoints(self) -> Path:
        """Folder of checkpoints."""
        return self.path / "checkpoints"

    def __enter__(self) -> RunDirectory:
        make_folder(self.path)
        try:
            self.lock.acquire(timeout=LOCK_SECONDS)
        except Timeout:
            raise Busy(f"{self.path} is being written by another process; wait for it or stop it") from None
        except OSError as error:
            raise UserError(f"cannot write to {self.path}: {error.strerror or error}") from error
        return self

    def __exit__(self, *_: object) -> None:
        self.lock.release()

    def check_config(self, config: dict[str, Any]) -> None:
        """Record what is asked, or refuse if the folder holds a run of another configuration."""
        known = read_json(self.path / "config.json")
        if known is None:
            write_json(self.path / "config.json", config)
            return
        differing = differences(known, config)
        if differing:
            raise UserError(
                f"{self.path} holds a run of another configuration ({'; '.join(differing)}); "
                "choose another --out or delete that folder"
            )

    def add_start(self, provenance: dict[str, Any]) -> None:
        """Append what made this (re)start."""
        path = self.path / "provenance.json"
        write_json(path, {"starts": [*read_starts(path), provenance]})

    @property
    def status(self) -> dict[str, Any]:
        """The last status, {} before the first. Raises `Damaged`."""
        return read_status(self.path)

    def set_status(self, **values: Any) -> None:
        """Update the status."""
        write_json(self.path / "status.json", {**self.status, **values, "updated": now()})

    def record_end(self, state: str, error: str) -> None:
        """Record that the run ended early, as far as its folder can still be written: the first line says why."""
        error = error.encode(errors="replace").decode()  # names of files may hold what no text does
        try:
            self.set_status(state=state, error=error)
        except Damaged:
            pass  # left as it is, for a person to look at
        except (UserError, OSError):
            with contextlib.suppress(UserError, OSError):
                self._overwrite_status({**self.status, "state": state, "error": error.partition("\n")[0][:500]})
        with contextlib.suppress(OSError), (self.path / "log.txt").open("a") as log:
            print(now(), f"{state}: {error}", file=log)

    def _overwrite_status(self, status: dict[str, Any]) -> None:
        """Write a status over the one that is there: on a full disk its block is all that can be written to."""
        content = json.dumps({**status, "updated": now()}).encode()
        with (self.path / "status.json").open("r+b", buffering=0) as file:
            file.write(content)
            file.truncate(len(content))


def is_locked(lock: Path) -> bool:
    """Whether a living process holds a lock; takes no more than a shared lock, and that for an instant."""
    try:
        with open(lock, "rb", opener=without_waiting) as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def make_folder(path: Path) -> None:
    """Create a folder for results, or say why that fails."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot write to {path}: {error.strerror or error}") from error
    if not os.access(path, os.W_OK):
        raise UserError(f"cannot write to {path}: no permission")


def differences(known: Any, asked: Any, name: str = "") -> list[str]:
    """What differs between two JSON values, as "name: old, not new"."""
    if isinstance(known, dict) and isinstance(asked, dict):
        keys = dict.fromkeys([*known, *asked])
        return [d for k in keys for d in differences(known.get(k), asked.get(k), f"{name}.{k}".lstrip("."))]
    same = known == asked or (
        isinstance(known, float) and isinstance(asked, float) and math.isclose(known, asked, rel_tol=1e-12)
    )
    return [] if same else [f"{name}: {known}, not {asked}"]
