"""What a person sees of a run: a bar with an estimate on a terminal, lines elsewhere, and a log file."""

from __future__ import annotations

import sys
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from benchmark.common.errors import printable
from benchmark.common.machine import now


class RunDisplay:
    """A run's bar and log; a context manager."""

    def __init__(self, title: str, log: Path, quiet: bool = False):
        """`title` names the run, `log` is appended to; `quiet` writes to the log alone."""
        self.title, self.quiet = title, quiet
        self.log = log.open("a")
        self.console = Console(file=sys.stdout, highlight=False, quiet=quiet)
        columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}/{task.total}"))
        self.bars = Progress(
            *columns,
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=self.console,
            disable=quiet or not sys.stdout.isatty(),
        )
        self.tasks: dict[str, TaskID] = {}

    def __enter__(self) -> RunDisplay:
        self.bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bars.stop()
        self.log.close()

    def say(self, text: str) -> None:
        """Write a line."""
        print(now(), printable(text), file=self.log, flush=True)
        self.console.print(f"{self.title}: {printable(text)}", markup=False)

    def update(self, what: str, done: int, total: int) -> None:
        """Move the bar of what is being done; it goes away when done, training's stays."""
        if what not in self.tasks:
            self.tasks[what] = self.bars.add_task(f"{self.title} {what}", total=total)
        self.bars.update(self.tasks[what], completed=done, total=total)
        if done >= total and what != "training":
            self.bars.remove_task(self.tasks.pop(what))
