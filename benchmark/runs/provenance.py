"""What made a number: commit, versions, device, command, and the code itself by its digest.

Two digests tell whether code changed. An agent from a file of its own is defined by that file and by those of its
folder that it imports: their digests are part of what is asked of a run, and copies stand in the run's folder. The
code of this repository that determines a run's numbers, `LOOP` and what the agent imports of `agents/`, has one digest
in the record of each start: commits that do not touch these files leave it as it is.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shlex
import sys
from pathlib import Path
from typing import Any

from benchmark.common.machine import git_state, now
from benchmark.runs.code import code_digest

PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy", "ogbench", "mujoco", "gymnasium", "dm-control", "d4rl")
COMMAND = "RQL_COMMAND"
"""The environment variable by which a launcher hands its command down."""

ALLOCATION = ("CUDA_VISIBLE_DEVICES", "SLURM_JOB_ID", "SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID", "SLURMD_NODENAME")


def collect(dataset: dict[str, Any], device: str, agent: str | None = None) -> dict[str, Any]:
    """Return the record of one start of a run of an agent (a name or a file's path, None where only speed counts);
    `dataset` says which data it trains on, `device` on what it computes.
    """
    return {**where(agent), "device": device, "dataset": dataset}


def where(agent: str | None = None) -> dict[str, Any]:
    """The part of the record that needs no device: when, how, by which code and where."""
    commit, clean = git_state()
    return {
        "time": now(),
        "command": command_line(),
        "commit": commit,
        "clean": clean,
        **({"code": code_digest(agent)} if agent else {}),
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
