"""Bars with an estimate for what takes more than a moment, on a terminal only."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sized
from typing import TypeVar

from rich.console import Console
from rich.progress import track

T = TypeVar("T")


def bar(items: Iterable[T], what: str, fewest: int = 1) -> Iterator[T]:
    """Yield the items, as the consumer asks, while a bar named `what` says how many are done and how long it will take.

    It goes to standard error, so that tables can be piped, and only where that is a terminal and there are so many.
    """
    if not sys.stderr.isatty() or (isinstance(items, Sized) and len(items) < fewest):
        yield from items
        return
    yield from track(items, description=what, console=Console(stderr=True), transient=True)
