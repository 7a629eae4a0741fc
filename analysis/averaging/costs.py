"""What runs cost: hours of the device, from their records."""

from __future__ import annotations

import pandas as pd

from analysis.averaging.results import Results


def run_hours(results: Results) -> pd.DataFrame:
    """Hours of the device by run: agent, task, seeds (their number), training, evaluation, device; NaN if unknown."""
    runs = results.runs.runs
    pairs = results.evaluations[["run", "agent", "task"]].drop_duplicates()
    known = pairs.merge(runs[["run", "seeds", "train_seconds", "eval_seconds", "device"]], on="run")
    # A run's time is None, and not 0, where it is not known.
    for name, seconds in {"training": "train_seconds", "evaluation": "eval_seconds"}.items():
        known[name] = pd.to_numeric(known[seconds]) / 3600
    known["seeds"] = known["seeds"].map(len)
    return known.drop(columns=["run", "train_seconds", "eval_seconds"])


def costs(results: Results) -> pd.DataFrame:
    """Mean hours that one seed of one task took: agent, hours, device ("GPU", "CPU" or "device").

    The seeds of a run train together; each is charged an equal share of the run's training and evaluation time.
    """
    known = run_hours(results)
    known["hours"] = (known["training"] + known["evaluation"]) / known["seeds"]
    known = known.dropna(subset="hours")
    per_task = known.groupby(["agent", "task"], as_index=False)["hours"].mean()
    kinds = known["device"].map(lambda text: text.partition(":")[0]).unique()
    kind = {"gpu": "GPU", "cpu": "CPU"}.get(kinds[0], "device") if len(kinds) == 1 else "device"
    return per_task.groupby("agent", as_index=False)["hours"].mean().assign(device=kind)
