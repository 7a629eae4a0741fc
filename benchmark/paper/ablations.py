"""What single choices of an agent are worth: final evaluations of runs that differ in one hyperparameter, and those of
trained policies at other values of what only acting reads (`benchmark.evaluate --sweep`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.averaging.selection import comparable
from analysis.reading.loading import load_runs
from benchmark.common.errors import UserError
from benchmark.loop.played import FILE, rows_of

Row = dict[str, Any]
MEASURES = ("success", "return")


def ablations(runs: Sequence[Path]) -> list[Row]:
    """Rows (agent, option, value, seed, success, return) of finished runs of one task, from their folders.

    Of each agent the first run is what the others are compared with: each must differ from it in one hyperparameter.
    What `benchmark.evaluate --sweep` has reported of a run follows, by each option that it swept. Raises a UserError
    for what is no run, for one that is not finished, is of another task, or differs in more or in nothing.
    """
    for path in runs:
        if not (path / "config.json").is_file():
            raise UserError(f"--ablations: {path} is not the folder of a run")
    loaded = load_runs(*runs, cache=False)
    evaluations = comparable(loaded, mixed="pool").evaluations
    first: dict[str, Row] = {}
    compared: set[tuple[str, str]] = set()
    rows: list[Row] = []
    for row in loaded.runs.to_dict("records"):
        if row["state"] != "done":
            raise UserError(f"{row['run']} is not the folder of a finished run")
        if row["task"] != loaded.runs["task"][0]:
            raise UserError(f"{row['run']} is of {row['task']}, the run before it of {loaded.runs['task'][0]}")
        base = first.setdefault(row["agent"], row)
        if row is not base:
            option = _difference(base, row)
            if (row["agent"], option) not in compared:
                rows += _final(base, option, evaluations)
            compared.add((row["agent"], option))
            rows += _final(row, option, evaluations)
        rows += _swept(row)
    return sorted(rows, key=lambda row: (row["agent"], row["option"], row["value"], row["seed"]))


def _difference(base: Row, row: Row) -> str:
    """The one hyperparameter in which two runs differ. Raises a UserError where they differ in more, or in nothing, or
    in anything else.
    """
    for name in ("protocol", "fingerprint", "start"):
        if base[name] != row[name]:
            what = {"fingerprint": "data", "start": "the run that they start from"}.get(name, name)
            raise UserError(
                f"{row['run']} differs from {base['run']} in {what}; an ablation differs in a hyperparameter"
            )
    theirs, own = base["hyperparameters"], row["hyperparameters"]
    differ = [name for name in own.keys() | theirs.keys() if own.get(name) != theirs.get(name)]
    if len(differ) != 1:
        said = f"in {', '.join(sorted(differ))}" if differ else "in no hyperparameter"
        raise UserError(f"{row['run']} differs from {base['run']} {said}; an ablation differs in one")
    if type(own[differ[0]]) not in (int, float):
        raise UserError(f"{row['run']} differs from {base['run']} in {differ[0]}, which is no number")
    return differ[0]


def _final(row: Row, option: str, evaluations: pd.DataFrame) -> Iterator[Row]:
    """A run's final evaluation of each seed, as rows of its value of an option; a seed that diverged has success 0 and
    no return.
    """
    own = evaluations[evaluations["run"] == row["run"]]
    for each in own[own["step"] == own["step"].max()].to_dict("records"):
        made = {name: float(each[name]) if math.isfinite(each[name]) else None for name in MEASURES}
        value = row["hyperparameters"][option]
        yield dict(agent=row["agent"], option=option, value=value, seed=int(each["seed"])) | made


def _swept(run: Row) -> Iterator[Row]:
    """What a run's final policies were reported at, on its own task, in sweeps of what acting reads: a row an option,
    value and seed.

    Of several options that were swept together each value's row is the mean over the others' values. Of several sweeps
    the last counts, of those with as many episodes of the same numbers.
    """
    agent = run["agent"]
    place = (run["task"], str(run["steps"]))
    reported = [row for row in rows_of(Path(run["run"]) / FILE) if row["pass"] == "report" and row["chosen"]]
    table = pd.DataFrame([row for row in reported if (row["task"], str(row["step"])) == place])
    if table.empty:
        return
    last = table[["episodes_of", "episodes"]].iloc[-1]
    table = table[(table[["episodes_of", "episodes"]] == last).all(axis=1)]
    names = list(table.columns)
    for option in names[names.index("episodes_of") + 1 : names.index("episodes")]:
        values = pd.to_numeric(table[option], errors="coerce")
        if values.nunique() < 2:
            continue
        means = table[list(MEASURES)].astype(float).groupby([values, table["seed"].astype(int)]).mean()
        for (value, seed), made in means.iterrows():
            yield dict(agent=agent, option=option, value=float(value), seed=int(seed)) | made.to_dict()
