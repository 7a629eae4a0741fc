"""Success of the settings of a sweep, and which is the best."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from analysis.averaging.selection import comparable
from analysis.names import label
from analysis.reading.loading import load_runs
from benchmark.common.errors import UserError


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


def best(found: pd.DataFrame, names: Sequence[str]) -> dict[str, float]:
    """The setting with the highest final success; on a tie the higher course, then the earlier row."""
    ordered = found.sort_values(["final", "course"], ascending=False, kind="stable")
    return {name: float(ordered.iloc[0][name]) for name in names}


def title(found: pd.DataFrame) -> str:
    """What the table and the heat map are of."""
    first = found.iloc[0]
    return (
        f"{label(first['agent'])} on {first['task']}: success in percent after {first['updates']:,} updates, "
        f"{first['seeds']} tuning seeds"
    )
