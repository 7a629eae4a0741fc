"""What a sweep found, as a table and as a heat map: `python -m benchmark.sweep` makes the runs, and calls this."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from rich.console import Console
from rich.table import Table

from analysis import comparable, load_runs
from analysis.averaging.settings import best, best_first
from analysis.drawing.heat_maps import draw_heat_map
from analysis.names import label
from benchmark.common.errors import UserError
from benchmark.common.files import make_folder, write_text

COLUMNS = ("success", "± over seeds", "mean of all evaluations")


def scores(runs: Sequence[Path], names: Sequence[str]) -> pd.DataFrame:
    """Success of the finished runs, a row a run (a setting).

    Columns: agent, task, the swept hyperparameters `names`, final (mean over seeds of the success at the last
    evaluation; a seed that diverged has 0), spread (standard deviation over seeds), course (mean over all evaluations),
    seeds, updates. Raises a UserError where a run is not finished.
    """
    loaded = load_runs(*runs, cache=False)
    evaluations = comparable(loaded, mixed="pool").evaluations
    rows = []
    for row in loaded.runs.itertuples():
        own = evaluations[evaluations["run"] == row.run]
        if own.empty:
            why = f"{row.state}: {row.error}" if row.error else row.state
            raise UserError(f"{row.run} is not finished ({why}): give the sweep again to go on with it")
        last = own[own["step"] == own["step"].max()].groupby("seed")["success"].mean()
        rows.append(
            {"agent": row.agent, "task": row.task}
            | {name: row.hyperparameters[name] for name in names}
            | {"final": last.mean(), "spread": last.std(ddof=0), "course": own["success"].mean()}
            | {"seeds": len(last), "updates": own["step"].max()}
        )
    return pd.DataFrame(rows)


def _title(found: pd.DataFrame) -> str:
    first = found.iloc[0]
    return (
        f"{label(first['agent'])} on {first['task']}: success in percent after {first['updates']:,} updates, "
        f"{first['seeds']} tuning seeds"
    )


def _rows(found: pd.DataFrame, names: Sequence[str]) -> list[list[str]]:
    """The table's rows as texts, the best setting first: the setting, and `COLUMNS` in percent."""
    ordered = best_first(found).to_dict("records")
    return [
        [f"{row[name]:g}" for name in names] + [f"{100 * row[column]:.1f}" for column in ("final", "spread", "course")]
        for row in ordered
    ]


def print_scores(found: pd.DataFrame, names: Sequence[str], console: Console) -> None:
    """Print the table, the best setting first."""
    table = Table(*names, *COLUMNS, title=_title(found), title_justify="left")
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
    write_text(paths[1], "\n".join([f"{_title(found)}.", "", *rows]) + "\n")
    return [*paths, *draw_heat_map(found, names, stem, best(found, names)).save(folder)]
