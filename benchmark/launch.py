"""Launching runs: each in a process of its own, so that one that fails does not touch the others."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from benchmark.records import RunDirectory
from benchmark.train import RunSpec, run_path


@dataclass(frozen=True)
class Outcome:
    """How a run's process ended."""

    path: Path
    code: int
    reason: str
    """The first line of what went wrong, '' where nothing did."""


def run_locally(runs: list[RunSpec], console: Console) -> list[Outcome]:
    """Do the runs one after the other on this machine."""
    outcomes = []
    for number, spec in enumerate(runs, 1):
        path = run_path(spec)
        console.rule(
            f"run {number} of {len(runs)}: {spec.agent} on {spec.task}, seeds {','.join(map(str, spec.seeds))}"
        )
        code = subprocess.run([sys.executable, "-m", "benchmark.train", "--spec", spec.to_json()]).returncode
        outcomes.append(Outcome(path, code, failure_reason(path, code)))
    return outcomes


def failure_reason(path: Path, code: int) -> str:
    """Why a run's process ended with this exit code, in a line."""
    if code == 0:
        return ""
    if code < 0:
        return f"killed by signal {-code}"
    lines = (RunDirectory(path).status.get("error") or "").strip().splitlines()
    return lines[-1] if lines else f"exit code {code}"
