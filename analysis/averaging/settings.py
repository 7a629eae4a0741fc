"""Which of a sweep's settings is the best: the one rule for its tables, its tuned values and its figures."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd


def best_first(found: pd.DataFrame) -> pd.DataFrame:
    """A row a setting, with final and course (mean success at the end, and of all evaluations): the best first.

    That is the one with the highest final success; on a tie the higher course, then the earlier row.
    """
    return found.sort_values(["final", "course"], ascending=False, kind="stable")


def best(found: pd.DataFrame, names: Sequence[str]) -> dict[str, float]:
    """The best setting, as `best_first` has it: its values of the hyperparameters `names`."""
    first = best_first(found).iloc[0]
    return {name: float(first[name]) for name in names}
