"""Launching runs on this machine, each process apart, so that one that fails does not touch the others."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from benchmark.records import RunDirectory
from benchmark.train import RunSpec, run_path

FINISHED = ("done", "failed")


@dataclass(frozen=True)
class Outcome:
    """How a run ended."""

    path: Path
    reason: str
    """The line that says what went wrong, '' where nothing did."""


def run_locally(runs: Sequence[RunSpec], console: Console, runs_per_process: int = 1) -> list[Outcome]:
    """Do the runs one after the other, several to a process where they are short.

    A process that dies takes down only the run that it was at; the next process goes on with the one after.
    """
    outcomes: list[Outcome] = []
    waiting = list(runs)
    while waiting:
        batch = waiting[:runs_per_process]
        first, last = len(outcomes) + 1, len(outcomes) + len(batch)
        what = f"run {first}" if first == last else f"runs {first} to {last}"
        console.rule(f"{what} of {len(runs)}: {batch[0].agent} on {batch[0].task}{' ...' if len(batch) > 1 else ''}")
        code = _run_process(batch)
        ended = _ended(batch, code)
        outcomes += ended
        waiting = waiting[len(ended) :]
    return outcomes


def _run_process(batch: Sequence[RunSpec]) -> int:
    """Do some runs in a new process; return its exit code."""
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as file:
        file.write("".join(spec.to_json() + "\n" for spec in batch))
        file.flush()
        return subprocess.run([sys.executable, "-m", "benchmark.train", "--specs", file.name]).returncode


def _ended(batch: Sequence[RunSpec], code: int) -> list[Outcome]:
    """Outcomes of the runs that a process finished, and of the one that it died at."""
    outcomes = []
    for spec in batch:
        path = run_path(spec)
        status = RunDirectory(path).status
        outcomes.append(Outcome(path, failure_reason(status, code)))
        if status.get("state") not in FINISHED:
            break
    return outcomes


def failure_reason(status: dict, code: int) -> str:
    """Why a run ended, in a line, from its status and its process's exit code; '' where it is done."""
    if status.get("state") == "done":
        return ""
    if status.get("state") == "failed":
        lines = (status.get("error") or "").strip().splitlines()
        return lines[-1] if lines else "no reason was recorded"
    return f"its process was killed by signal {-code}" if code < 0 else f"its process ended with exit code {code}"
