"""What was launched in a folder of results, kept on disk: it can be asked about from another shell, and after the
launching process is gone.

    <out>/.launches/<time>-<process>/
        launch.json      by which launcher, when, where, with which options; the job arrays that were submitted
        runs.jsonl       every run of the plan, a RunSpec a line
        lock             held by a local launcher as long as it lives
        worker-<k>.log   what local runs print where several go on at once
        array-<k>/       what submitit keeps of a job array: a folder per job
"""

from __future__ import annotations

import dataclasses
import os
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from benchmark.common.files import is_locked, make_folder, write_json, write_text
from benchmark.common.machine import now
from benchmark.common.reading import LIST, OBJECT, TEXT, WHOLE, Damaged, check_fields, read_bytes, read_json
from benchmark.runs.provenance import command_line
from benchmark.runs.run import RunSpec

FOLDER = ".launches"
ABOUT = {"launcher": TEXT, "time": TEXT, "host": TEXT, "process": WHOLE, "command": TEXT, "options": OBJECT}
ABOUT |= {"submitted": LIST, "arrays": LIST}
ARRAY = {"job": TEXT, "first": WHOLE, "count": WHOLE, "size": WHOLE, "folder": TEXT}


def ignore(reason: str) -> None:
    """What is done with the reason why a record is left out, where nobody wants to know."""


@dataclass(frozen=True)
class JobArray:
    """Jobs of a cluster: job k does runs first + k * size up to first + (k + 1) * size, or as many as there are."""

    job: str
    """The cluster's number for the array."""
    first: int
    """Where in `Launch.submitted` its runs begin."""
    count: int
    """Runs of the array."""
    size: int
    """Runs of each job."""
    folder: str
    """Where its logs are, relative to the launch's folder."""

    @property
    def jobs(self) -> int:
        """Jobs of the array."""
        return -(-self.count // self.size)

    def job_of(self, index: int) -> str:
        """The cluster's name for the job that does run `index` of the launch's submitted runs."""
        return self.job if self.jobs == 1 else f"{self.job}_{(index - self.first) // self.size}"


class Launch:
    """A launch's record."""

    def __init__(self, folder: Path):
        """Read what is known; `begin` makes a new one. Raises `Damaged`."""
        self.folder = folder
        known = read_json(folder / "launch.json")
        self.about: dict[str, Any] = known or {}
        if known is not None:
            self._check(folder / "launch.json")

    @staticmethod
    def begin(out: Path, runs: Sequence[RunSpec], launcher: str, options: dict[str, Any]) -> Launch:
        """Record a new launch of a plan; `options` are those that a later --retry-failed uses again."""
        folder = out / FOLDER / f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{time.time_ns() % 10**9:09d}"
        make_folder(folder)
        write_text(folder / "runs.jsonl", "".join(spec.to_json() + "\n" for spec in runs))
        launch = Launch(folder)
        about = dict(launcher=launcher, time=now(), host=platform.node(), process=os.getpid(), command=command_line())
        launch.about = {**about, "options": options, "submitted": [], "arrays": []}
        launch.save()
        return launch

    def save(self) -> None:
        """Write the record."""
        write_json(self.folder / "launch.json", self.about)

    @property
    def lock(self) -> FileLock:
        """What a launcher holds while it lives."""
        return FileLock(self.folder / "lock")

    def is_alive(self) -> bool:
        """Whether the launching process lives; only to be known on its own machine or a shared file system."""
        return is_locked(self.folder / "lock")

    def _check(self, path: Path) -> None:
        if missing := [name for name in ABOUT if name not in self.about]:
            raise Damaged(path, f"no field '{missing[0]}'")
        check_fields(path, self.about, ABOUT)
        if not all(type(index) is int and index >= 0 for index in self.submitted) or self.about["process"] < 1:
            raise Damaged(path, "submitted or process is not what a launcher writes")
        for array in self.about["arrays"]:
            if not isinstance(array, dict) or set(array) != set(ARRAY):
                raise Damaged(path, f"{array!r:.40} is no array of jobs")
            check_fields(path, array, ARRAY, "array: ")
            within = 0 <= array["first"] <= array["first"] + array["count"] <= len(self.submitted)
            if not within or array["size"] < 1 or not array["job"].isdecimal():
                raise Damaged(path, f"{array} is no array of jobs")

    def runs(self, out: Path, on_damage: Callable[[str], None] = ignore) -> list[RunSpec | None]:
        """The plan, its results in `out` (which may have been moved); None for a run whose line is damaged."""
        path = self.folder / "runs.jsonl"
        found: list[RunSpec | None] = []
        try:
            if (content := read_bytes(path)) is None:
                raise Damaged(path, "missing")
        except Damaged as error:
            on_damage(str(error))
            return found
        for number, line in enumerate(content.splitlines(), start=1):
            try:
                found.append(dataclasses.replace(RunSpec.from_json(line, path), out=str(out)))
            except Damaged as error:
                found.append(None)
                on_damage(f"line {number} of {error}")
        return found

    @property
    def submitted(self) -> list[int]:
        """Indices, in the plan, of the runs that were given to a cluster, in the order of its jobs."""
        return self.about["submitted"]

    @property
    def arrays(self) -> list[JobArray]:
        """The job arrays, in the order of submission."""
        return [JobArray(**array) for array in self.about["arrays"]]

    def add_array(self, array: JobArray) -> None:
        """Record a job array as soon as it is submitted."""
        self.about["arrays"].append(dataclasses.asdict(array))
        self.save()


def read_launches(out: Path, on_damage: Callable[[str], None] = ignore) -> list[Launch]:
    """All launches in a folder of results, oldest first; `on_damage` is told of those whose record cannot be used."""
    folder = out / FOLDER
    found: list[Launch] = []
    for name in sorted(os.listdir(folder)) if folder.is_dir() else []:
        try:
            launch = Launch(folder / name)
            if launch.about:
                found.append(launch)
        except Damaged as error:
            on_damage(str(error))
    return found
