"""The run store: one directory a run, plain files, written atomically.

    <out>/<agent>/<task>/seeds-<seeds>/
        config.json      what was asked: agent, task, seeds, every hyperparameter, the protocol
        code/            the files of an agent from outside the repository, whose digests are in config.json
        provenance.json  what made it, an entry for every start: commit, digest of the code, versions, device, dataset
        train.csv        step, seed, metrics: one row per (logging step, seed)
        eval.csv         step, seed, episodes, success, return, length
        evaluations.csv  what `benchmark.evaluate` played afterwards, and episodes.csv each episode of it
        clips/           films of single episodes, made afterwards, each with a record (`benchmark.runs.clips`)
        status.json      state, step, rate, diverged seeds, error, digests of the code that made the numbers
        checkpoints/     the last two; removed when the run is done, unless --keep-checkpoints was given
        policies/        what acting needs, of every seed, when the run is done; see `benchmark.runs.policies`

A table is rewritten whole (through a temporary file and a rename), so that it is never cut in half; it is written
before the checkpoint of the same step, which says how many rows there are up to it and vouches for them with a digest.
A resumed run drops the rows after its checkpoint and makes them again.
"""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from benchmark.common.errors import UserError
from benchmark.common.files import make_folder, move_aside, write_bytes, write_json
from benchmark.common.machine import now
from benchmark.common.reading import Damaged, read_json
from benchmark.runs.reading import read_starts, read_status

SCHEMA = 1
ANEW = "--anew, which moves the run's folder aside"
"""What to do about a run that is not to go on."""
KEPT = "of a finished run it is kept where that was trained with --keep-checkpoints"
"""Why the state of training may be gone, and what to do about it."""
LOCK_SECONDS = 1.0
"""How long to wait for a run's lock: whoever only looks whether it is held lets go of it at once."""


class Busy(UserError):
    """Another process is writing this run."""

    def __init__(self, run: Path):
        """`run`: its folder."""
        super().__init__(f"{run} is being written by another process; wait for it or stop it")


class RunDirectory:
    """One run's files. Use as a context manager: it holds the run's lock, which a dead process releases."""

    def __init__(self, path: Path):
        """`path` need not exist yet."""
        self.path = path
        self.code: str | None = None
        """Digest of the code that is at work."""
        self.extended_from: int | None = None
        """Updates that the run had before it was asked for more of them, where it was."""
        self.lock = FileLock(path / ".lock")

    @property
    def checkpoints(self) -> Path:
        """Folder of checkpoints."""
        return self.path / "checkpoints"

    @property
    def has_checkpoint(self) -> bool:
        """Whether there is a state of training to go on from."""
        return any(path.name.isdigit() for path in self.checkpoints.glob("*"))

    def __enter__(self) -> RunDirectory:
        make_folder(self.path)
        try:
            self.lock.acquire(timeout=LOCK_SECONDS)
        except Timeout:
            raise Busy(self.path) from None
        except OSError as error:
            raise UserError(f"cannot write to {self.path}: {error.strerror or error}") from error
        return self

    def __exit__(self, *_: object) -> None:
        self.lock.release()

    def check_config(self, config: dict[str, Any], files: Mapping[str, bytes] | None = None) -> None:
        """Record what is asked, and the files that define its agent, or refuse if the folder holds another run.

        A run that has kept nothing yet may go on with other files than it began with. One that is asked for more
        updates is not finished from then on, and says what it had.
        """
        known = read_json(self.path / "config.json")
        changed = self.refuse_another(known, config)
        self.extended_from = updates_before(known or {}, config)
        if known is not None and self.extended_from is not None:
            had = {"from": self.extended_from, "time": now()}
            config = config | {"extended": [*known.get("extended", []), had]}
            self.set_status(state="interrupted", error=None)
        if known is None or changed or self.extended_from is not None:
            for name, content in (files or {}).items():
                make_folder((self.path / "code" / name).parent)
                write_bytes(self.path / "code" / name, content)
            write_json(self.path / "config.json", config)

    def refuse_another(self, known: dict[str, Any] | None, config: dict[str, Any]) -> bool:
        """Raise a UserError where the folder's run (`known`, None if there is none) is not the one that is asked.

        Returns whether its agent's files changed before it had kept anything.
        """
        if known is None:
            return False
        aside: dict[str, Any] = {"code": None, "extended": None}
        differing = differences(known | aside, config | aside)
        if (before := updates_before(known, config)) is not None:
            if not self.has_checkpoint:
                raise UserError(
                    f"{self.path} has no checkpoint to go on from, from {before:,} to {config['protocol']['steps']:,} "
                    f"updates: {KEPT}; choose another --out, or begin again with {ANEW}"
                )
        elif names := schedules(known, config):
            length = known["protocol"]["steps"]
            raise UserError(
                f"{self.path} holds a run of {length:,} updates with a schedule of that length ({', '.join(names)}), "
                f"which a longer run has otherwise from its first update on; go on with the schedule as it was by "
                f"{' '.join(f'--set {name}={length}' for name in names)}, or begin again with {ANEW}"
            )
        elif differing:
            raise UserError(
                f"{self.path} holds a run of another configuration ({'; '.join(differing)}); "
                f"choose another --out, or begin again with {ANEW}"
            )
        was, now = known.get("code") or {}, config.get("code") or {}
        changed = [name for name in {**was, **now} if was.get(name) != now.get(name)]
        kept = self.status.get("state") == "done" or self.has_checkpoint
        if changed and kept:
            told = [f"{each} was {shortened(was.get(each))}, is {shortened(now.get(each))} now" for each in changed]
            raise UserError(
                f"{self.path} was made by other code ({'; '.join(told)}; the old files: {self.path / 'code'}); "
                f"choose another --out, or begin again with {ANEW}"
            )
        return bool(changed)

    def other_data(self, there: str) -> str:
        """The fingerprint of the data that what the run has kept was made from, where that is not `there`; "" where it
        is, where one of them is not known, or where nothing is kept.
        """
        status = self.status
        done = status.get("state") == "done"
        if not there or not (done or self.has_checkpoint):
            return ""
        made = status.get("data", "")
        if not made and done:  # of a run from before its status said so: the start that finished it
            starts = read_starts(self.path / "provenance.json")
            made = (starts[-1].get("dataset", {}).get("fingerprint") if starts else "") or ""
        return made if made != there else ""

    def refuse_other_data(self, there: str) -> None:
        """Raise a UserError where what the run has kept was made from other data than those of a fingerprint."""
        if other := self.other_data(there):
            raise UserError(
                f"{self.path} holds a run on other data ({shortened(other)}, not {shortened(there)}); "
                f"go on with those, choose another --out, or begin again with {ANEW}"
            )

    def set_aside(self) -> Path | None:
        """Move the folder away, to a hidden one beside it, so that the run begins anew; None if there is no folder."""
        if not self.path.exists():
            return None
        with self:
            return move_aside(self.path, f".{self.path.name}-before")

    def add_start(self, provenance: dict[str, Any]) -> None:
        """Append what made this (re)start."""
        self.code = provenance.get("code")
        if self.extended_from is not None:
            provenance = provenance | {"extended_from": self.extended_from}
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


def shortened(fingerprint: str | None) -> str:
    """A digest as messages have it."""
    return f"sha256 {fingerprint.removeprefix('sha256:')[:12]}" if fingerprint else "none"


INTERVALS = ("eval_every", "log_every", "checkpoint_every")


def updates_before(known: dict[str, Any], asked: dict[str, Any]) -> int | None:
    """The updates of a run, where what is asked is the same with more of them, else None. Intervals that its length had
    cut short (`Protocol.scaled_to`) may be those of the longer run.
    """
    return None if _beside_length(known, asked) != [] else known["protocol"]["steps"]


def schedules(known: dict[str, Any], asked: dict[str, Any]) -> list[str]:
    """Hyperparameters that are each run's number of updates, where a run and the longer one that is asked differ in
    nothing else: schedules over its length.
    """
    differing = _beside_length(known, asked)
    if not differing:
        return []
    lengths = known["protocol"]["steps"], asked["protocol"]["steps"]
    asked_for = asked["hyperparameters"]
    names = [name for name, value in known["hyperparameters"].items() if (value, asked_for.get(name)) == lengths]
    return names if len(names) == len(differing) else []


def _beside_length(known: dict[str, Any], asked: dict[str, Any]) -> list[str] | None:
    """What differs besides the number of updates, None where no more of them are asked. An online phase ends a run."""
    before, longer = known.get("protocol", {}), asked.get("protocol", {})
    if not 0 < before.get("steps", 0) < longer.get("steps", 0) or "online_steps" in longer:
        return None
    steps = before["steps"]
    intervals = [name for name in INTERVALS if name in longer]
    cut = {name: longer[name] for name in intervals if before.get(name) == min(longer[name], steps)}
    same = known | {"protocol": before | cut | {"steps": longer["steps"]}, "code": None, "extended": None}
    return differences(same, asked | {"code": None, "extended": None})


def differences(known: Any, asked: Any, name: str = "") -> list[str]:
    """What differs between two JSON values, as "name: old, not new"."""
    if isinstance(known, dict) and isinstance(asked, dict):
        keys = dict.fromkeys([*known, *asked])
        return [d for k in keys for d in differences(known.get(k), asked.get(k), f"{name}.{k}".lstrip("."))]
    same = known == asked or (
        isinstance(known, float) and isinstance(asked, float) and math.isclose(known, asked, rel_tol=1e-12)
    )
    return [] if same else [f"{name}: {known}, not {asked}"]
