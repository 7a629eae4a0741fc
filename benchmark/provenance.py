"""What made a number: commit, versions, device, command."""

from __future__ import annotations

import functools
import importlib.metadata
import os
import platform
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmark.records import now

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy", "ogbench", "mujoco", "gymnasium", "dm-control", "d4rl")
COMMAND = "RQL_COMMAND"
"""The environment variable by which a launcher hands its command down."""

ALLOCATION = ("CUDA_VISIBLE_DEVICES", "SLURM_JOB_ID", "SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID", "SLURMD_NODENAME")


def collect(dataset: dict[str, Any]) -> dict[str, Any]:
    """Return the record of one start of a run; `dataset` says which data it trains on."""
    import jax

    device = jax.devices()[0]
    name = processor() if device.platform == "cpu" else device.device_kind
    return {**where(), "device": f"{device.platform}: {name}", "dataset": dataset}


def where() -> dict[str, Any]:
    """The part of the record that needs no device: when, how, by which code and where."""
    commit, clean = git_state()
    return {
        "time": now(),
        "command": command_line(),
        "commit": commit,
        "clean": clean,
        "python": platform.python_version(),
        "versions": versions(),
        "host": platform.node(),
        "allocation": {name: os.environ[name] for name in ALLOCATION if name in os.environ},
    }


def command_line() -> str:
    """The command that a person gave: a launcher hands its own down to the processes that do its runs."""
    if handed_down := os.environ.get(COMMAND):
        return handed_down
    return shlex.join([Path(sys.executable).name, *sys.orig_argv[1:]])


def versions() -> dict[str, str]:
    """Versions of the packages that can change a number."""
    found = {}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


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


@functools.cache
def processor() -> str:
    """The processor's name and the number of cores this process may use."""
    name = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    return f"{name}, {usable_cores()} cores"


def usable_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
