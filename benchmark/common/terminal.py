"""The terminal that commands print to, and the bars on it."""

from __future__ import annotations

import sys
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)


def console_for(markup: bool = False, **options: Any) -> Console:
    """A console on standard output, 120 columns wide where that is no terminal: text as it is, none of it coloured or
    taken for an emoji; with `markup`, "[bold]" is.
    """
    width = None if sys.stdout.isatty() else 120
    return Console(**{"highlight": False, "markup": markup, "emoji": False, "width": width, **options})


console = console_for()


def progress_bar(console: Console, *counts: str | ProgressColumn, hidden: bool = False) -> Progress:
    """Bars on a console, "done/total" and the times beside them, or the `counts` given in the place of the former;
    nothing where it is `hidden` or the console is no terminal.
    """
    columns = [TextColumn(count) if isinstance(count, str) else count for count in counts or (MofNCompleteColumn(),)]
    return Progress(
        *(TextColumn("{task.description}"), BarColumn(), *columns, TimeElapsedColumn(), TimeRemainingColumn()),
        console=console,
        disable=hidden or not console.is_terminal,
    )
