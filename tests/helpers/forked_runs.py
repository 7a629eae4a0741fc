"""Starts runs in forks of a process that has imported everything: a test that kills them fifty times pays for the
imports once. For each path of a file with specs, read from standard input, it prints the process that does them, and
then how that process ended. Where a run is, is written to the file PHASE.

python -m tests.helpers.forked_runs PHASE
"""

from __future__ import annotations

import functools
import os
import sys
from pathlib import Path

from benchmark.loop import checkpoints, running
from benchmark.loop.worker import execute_all
from benchmark.planning.registry import agent_class, agent_names
from benchmark.runs import table
from benchmark.runs.run import RunSpec

PHASES = ("starting", "training", "evaluation", "checkpoint", "records", "ended")


def announce(phase: int, owner: type, name: str, file: int) -> None:
    """Have a method say when it is at work, and that training goes on after it."""
    method = getattr(owner, name)

    @functools.wraps(method)
    def announced(*arguments, **options):
        os.pwrite(file, bytes([phase]), 0)
        try:
            return method(*arguments, **options)
        finally:
            os.pwrite(file, bytes([1]), 0)

    setattr(owner, name, announced)


def main(path: str) -> None:
    """Serve."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # runs print too
    file = os.open(path, os.O_RDWR | os.O_CREAT)
    announce(2, running.Training, "evaluate", file)
    announce(3, checkpoints.Checkpoints, "write", file)
    announce(4, table.Table, "save", file)
    [agent_class(name) for name in agent_names()]
    for line in sys.stdin:
        os.pwrite(file, bytes([0]), 0)
        child = os.fork()
        if child == 0:
            specs = [RunSpec.from_json(text) for text in Path(line.strip()).read_text().splitlines()]
            code = execute_all(specs)
            os.pwrite(file, bytes([5]), 0)
            os._exit(code)
        print(child, file=answers)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), file=answers)


if __name__ == "__main__":
    main(sys.argv[1])
