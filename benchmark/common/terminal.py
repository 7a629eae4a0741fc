"""The terminal that commands print to."""

from __future__ import annotations

import sys

from rich.console import Console

console = Console(highlight=False, markup=False, emoji=False, width=None if sys.stdout.isatty() else 120)
