"""Bars with an estimate for what takes more than a moment, on a terminal only."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sized
from typing import TypeVar

from rich.console import Console
from rich.progress import track

T = TypeVar("T")


def bar(items: Iterable[T], what: str, fewest: int = 1) -> Iterator[T]:
    """Yield the items while a bar says how many are done and how long the rest will take.

    It goes to standard error, so that tables can be piped, and only where that is a terminal.

    Args:
        items: what is gone through; one at a time, as the consumer asks.
        what: the word before the bar, e.g. "figures".
        fewest: fewer items than this need no bar.
    """
    if not sys.stderr.isatty() or (isinstance(items, Sized) and len(items) < fewest):
        yield from items
        return
    yield from track(items, description=what, console=Console(stderr=True), transient=True)
