"""From runs and published figures to statistics, tables, figures and the report. Reads files only.

from analysis import comparable, load_runs

results = comparable(load_runs("runs/ogbench"), last=3)
results.scores, results.notes       # what may be averaged, and what was done to get it
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from analysis.averaging.results import Results
    from analysis.averaging.selection import comparable
    from analysis.reading.loading import Runs, load_runs, read_training

__all__ = ["Results", "Runs", "comparable", "load_runs", "read_training"]
_HOMES = {"Results": "averaging.results", "comparable": "averaging.selection"}


def __getattr__(name: str) -> Any:
    """Import what is asked for only then: pandas takes a second, which `--help` need not wait for."""
    if name not in __all__:
        raise AttributeError(f"module 'analysis' has no attribute '{name}'")
    return getattr(importlib.import_module(f"analysis.{_HOMES.get(name, 'reading.loading')}"), name)
