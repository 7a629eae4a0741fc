"""The film with which a suite's launch ends: its agents on the same episode, for the report.

A process of its own makes it, within a time: whatever goes wrong there is a line, and no run fails by it.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmark.common.errors import printable
from benchmark.common.reading import Damaged
from benchmark.runs.clips import FOLDER
from benchmark.runs.reading import read_records
from benchmark.runs.run import RunSpec

SECONDS, SECONDS_TO_END = 120.0, 10.0
"""After which there is no film, and which it is given to end; one takes half a minute on two cores."""
EVERY = 4
"""Steps for a picture."""


def film_together(specs: Sequence[RunSpec], out: Path, seconds: float = SECONDS) -> list[str]:
    """Film the finished runs of each task on the first episode of their last evaluation, into `out`/clips.

    Returns lines about what came of it. Raises nothing.
    """
    lines: list[str] = []
    for task in dict.fromkeys(spec.task for spec in specs):
        runs = [spec.path for spec in specs if spec.task == task and _is_done(spec.path)]
        if runs:
            lines.append(_film(runs, out / FOLDER / f"{task}.mp4", seconds))
    return lines


def _film(runs: Sequence[Path], path: Path, seconds: float) -> str:
    """Film runs side by side; returns what the command said last."""
    first, *others = map(str, runs)
    command = [sys.executable, "-m", "benchmark.evaluate", f"--run={first}", f"--video={path}", f"--every={EVERY}"]
    if others:
        command += ["--compare", *others]
    pipes: dict[str, Any] = dict(stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace")
    try:
        with subprocess.Popen(command, **pipes) as process:
            try:
                output, errors = process.communicate(timeout=seconds)
            except subprocess.TimeoutExpired:
                end(process)
                return f"no clip: it was not there after {seconds:g} s"
            except BaseException:
                end(process)
                raise
    except OSError as error:
        return f"no clip: {error}"
    said = [line for line in (errors if process.returncode else output).splitlines() if line.strip()]
    last = printable(said[-1].strip()) if said else f"exit status {process.returncode}"
    return f"no clip: {last.removeprefix('error: ')}" if process.returncode else f"clip: {last}"


def end(process: subprocess.Popen) -> None:
    """End it as Ctrl-C does, so that it leaves nothing half done; kill it where it does not end."""
    process.send_signal(signal.SIGINT)
    try:
        process.communicate(timeout=SECONDS_TO_END)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()


def _is_done(run: Path) -> bool:
    try:
        return read_records(run).status.get("state") == "done"
    except Damaged:
        return False
