"""What a sweep found, as a table and as a heat map: `python -m benchmark.sweep` makes the runs, and calls this."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from rich.console import Console
from rich.table import Table

from analysis.averaging.sweeps import best, scores, title
from analysis.drawing.heat_maps import draw_heat_map
from benchmark.common.files import make_folder, write_text

__all__ = ["best", "print_scores", "scores", "write_scores"]
COLUMNS = ("success", "± over seeds", "mean of all evaluations")


def _rows(found: pd.DataFrame, names: Sequence[str]) -> list[list[str]]:
    """The table's rows as texts, the best setting first: the setting, and `COLUMNS` in percent."""
    ordered = found.sort_values(["final", "course"], ascending=False, kind="stable").to_dict("records")
    return [
        [f"{row[name]:g}" for name in names] + [f"{100 * row[column]:.1f}" for column in ("final", "spread", "course")]
        for row in ordered
    ]


def print_scores(found: pd.DataFrame, names: Sequence[str], console: Console) -> None:
    """Print the table, the best setting first."""
    table = Table(*names, *COLUMNS, title=title(found), title_justify="left")
    for row in _rows(found, names):
        table.add_row(*row)
    console.print(table)


def write_scores(found: pd.DataFrame, names: Sequence[str], folder: Path, stem: str) -> list[Path]:
    """Write `<stem>.csv`, `<stem>.md` and the heat map as PDF and PNG; return the paths."""
    make_folder(folder)
    paths = [folder / f"{stem}.csv", folder / f"{stem}.md"]
    write_text(paths[0], found.to_csv(index=False, float_format="%.6g"))
    rows = [f"| {' | '.join(row)} |" for row in ([*names, *COLUMNS], *_rows(found, names))]
    rows.insert(1, "| --- " * (len(names) + len(COLUMNS)) + "|")
    write_text(paths[1], "\n".join([f"{title(found)}.", "", *rows]) + "\n")
    return [*paths, *draw_heat_map(found, names, stem).save(folder)]
