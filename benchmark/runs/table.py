"""A run's rows: train.csv and eval.csv."""

from __future__ import annotations

import contextlib
import csv
import hashlib
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmark.common.errors import UserError
from benchmark.common.files import write_text
from benchmark.runs.record import ANEW


class Table:
    """Rows of (step, seed, values), kept in memory and mirrored in a CSV file."""

    def __init__(self, path: Path):
        """Read what is there, up to the first row that is damaged."""
        self.path = path
        self.rows: list[dict[str, Any]] = []
        with contextlib.suppress(OSError, ValueError, TypeError, KeyError, csv.Error), path.open(newline="") as file:
            for row in csv.DictReader(file):
                self.rows.append(_numbers(row))

    def keep_until(self, step: int) -> None:
        """Drop the rows of later steps."""
        self.rows = [row for row in self.rows if row["step"] <= step]

    def add(self, step: int, seed: int, values: dict[str, float]) -> None:
        """Append a row; `save` writes it."""
        self.rows.append({"step": step, "seed": seed, **values})

    def save(self) -> None:
        """Write the file."""
        write_text(self.path, csv_text(self.rows))

    def vouch(self, step: int) -> dict[str, Any]:
        """What a checkpoint keeps of the rows up to its step: how many there are, and a digest of them."""
        rows = [row for row in self.rows if row["step"] <= step]
        return {"rows": len(rows), "sha256": hashlib.sha256(csv_text(rows).encode()).hexdigest()}

    def check(self, step: int, vouched: dict[str, Any]) -> None:
        """Raise a UserError that says what is missing, where the rows up to a step are not those of its checkpoint."""
        found = self.vouch(step)
        if found == vouched:
            return
        rows = vouched["rows"]
        wrong = f"has {found['rows']} of the {rows} rows up to step {step}"
        if not self.path.exists():
            wrong = f"is gone, with its {rows} rows up to step {step}"
        elif found["rows"] == rows:
            wrong = f"has other numbers in its {rows} rows up to step {step} than were written"
        raise UserError(
            f"{self.path} {wrong}, so the run cannot go on from its checkpoint; put the file back as it was, or begin "
            f"again with {ANEW}"
        )


def csv_text(rows: Sequence[dict[str, Any]]) -> str:
    """Rows as the text of a CSV file, with the columns that any of them has."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")  # quotes a metric's name that has a comma in it
    writer.writerow(columns)
    writer.writerows([_text(row.get(name)) for name in columns] for row in rows)
    return text.getvalue()


def _numbers(row: dict[str, str]) -> dict[str, Any]:
    whole = {"step", "seed", "episodes"}
    numbers = {name: int(text) if name in whole else float(text) for name, text in row.items() if text != ""}
    return {"step": numbers.pop("step"), "seed": numbers.pop("seed"), **numbers}


def _text(value: float | int | str | None) -> str:
    """A float32's shortest text that reads back to the same number; text as it is."""
    if value is None:
        return ""
    return str(value) if isinstance(value, int | str) else f"{value:.9g}"
