"""`benchmark.planning.run.Run`, as `benchmark.sweep` and `benchmark.sweeping` ask it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmark.planning.run import Run
from benchmark.runs.run import RunSpec


def run_config(spec: RunSpec) -> dict[str, Any]:
    """`Run.config`."""
    return Run(spec).config


def is_done(spec: RunSpec) -> bool:
    """`Run.is_done`."""
    return Run(spec).is_done()


def by_other_code(spec: RunSpec) -> str:
    """`Run.other_code`."""
    return Run(spec).other_code()


def begin_anew(specs: Sequence[RunSpec]) -> None:
    """`Run.begin_anew`."""
    for spec in specs:
        Run(spec).begin_anew()
