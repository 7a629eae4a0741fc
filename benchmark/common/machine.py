"""The time, the machine and the commit, as records name them."""

from __future__ import annotations

import datetime
import functools
import os
import platform
import subprocess
from pathlib import Path


def now() -> str:
    """The time, to the second, in UTC."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


ROOT = Path(__file__).resolve().parents[2]


@functools.cache
def processor() -> str:
    """The processor's name and the number of cores this process may use."""
    name = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    return f"{name}, {len(usable_cores())} cores"


def usable_cores() -> list[int]:
    """Numbers of the cores that this process may use: a job's share, not all of the machine's."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


@functools.cache
def git_state() -> tuple[str | None, bool | None]:
    """(commit, whether the tree has no uncommitted change), (None, None) outside a repository.

    Changes under `results/` do not count: rates measured there, which a plan reads, do not enter a run's numbers.
    """
    try:
        commit = _git("rev-parse", "HEAD").strip()
        return commit, not _git("status", "--porcelain", "--untracked-files=no", "--", ".", ":!results").strip()
    except (OSError, subprocess.CalledProcessError):
        return None, None


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=ROOT, check=True, capture_output=True, text=True).stdout
