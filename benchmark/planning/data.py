"""`benchmark.planning.run.Run`, as `benchmark.sweeping` asks it of data."""

from __future__ import annotations

from pathlib import Path

from benchmark.planning.run import Run
from benchmark.runs.run import RunSpec


def ensure_data(spec: RunSpec) -> Path | None:
    """`Run.ensure_data`."""
    return Run(spec).ensure_data()


def data_source(spec: RunSpec) -> str:
    """`Run.data_source`."""
    return Run(spec).data_source
