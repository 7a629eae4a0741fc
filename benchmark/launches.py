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
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from benchmark.provenance import command_line
from benchmark.records import is_locked, make_folder, now, read_json, write_json, write_text
from benchmark.train import RunSpec

FOLDER = ".launches"


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
        """Read what is known; `begin` makes a new one."""
        self.folder = folder
        self.about: dict[str, Any] = read_json(folder / "launch.json", {})

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

    def runs(self, out: Path) -> list[RunSpec]:
        """The plan, its results in `out` (which may have been moved)."""
        lines = (self.folder / "runs.jsonl").read_text().splitlines()
        return [dataclasses.replace(RunSpec.from_json(line), out=str(out)) for line in lines]

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


def read_launches(out: Path) -> list[Launch]:
    """All launches in a folder of results, oldest first."""
    folder = out / FOLDER
    names = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    return [launch for name in names if (launch := Launch(folder / name)).about]
