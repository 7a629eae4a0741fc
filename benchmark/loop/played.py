"""What is recorded of policies that are played again: rows of means, and of single episodes."""

from __future__ import annotations

import csv
import io
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table as Grid

from benchmark.common.reading import Damaged, read_bytes
from envs.play.pool import EpisodeResults

FILE, EPISODES = "evaluations.csv", "episodes.csv"
Row = dict[str, Any]


def episode_rows(result: EpisodeResults) -> list[Row]:
    """What each episode gave."""
    columns = {"success": result.success, "return": result.returns, "length": result.lengths}
    columns |= {f"part: {name}": values for name, values in result.parts.items()}
    return [
        {"episode": i, **{name: values[i].item() for name, values in columns.items()}}
        for i in range(len(result.success))
    ]


def rows_of(path: Path) -> list[Row]:
    """The rows that are there, as text. Raises `Damaged` where they cannot be kept."""
    try:
        rows = list(csv.DictReader(io.StringIO((read_bytes(path) or b"").decode(), newline=""), strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise Damaged(path, f"no table ({error}); move it away") from error
    if any(None in row or None in row.values() for row in rows):
        raise Damaged(path, "a row of it has not as many values as there are columns; move it away")
    return [dict(row) for row in rows]


def grid(rows: Sequence[Row], options: Sequence[str]) -> Grid:
    """Means over seeds, a row a setting; the chosen one is marked."""
    measures, of = ("success", "return", "length"), ("pass", "task", "step", "episodes_of", *options)
    table = Grid("pass", "task", "step", "episodes of", *options, *measures, "chosen")
    for key, group in itertools.groupby(rows, lambda row: [row[name] for name in of]):
        each = list(group)
        means = [f"{np.mean([row[name] for row in each]):.4g}" for name in measures]
        table.add_row(*map(str, key), *means, "*" if each[0]["chosen"] else "")
    return table
