"""Where episodes end, in words."""

from __future__ import annotations

import contextlib

import pandas as pd

from analysis.reading.episodes import NAMES, PART
from benchmark.common.errors import UserError, printable
from envs.tasks import get_task

EPISODE = ["episode_seed", "episodes_of", "episode"]
"""What an episode is, whoever plays it."""


def told(episodes: pd.DataFrame) -> str:
    """A paragraph for each label, task, variant and setting, of rows as `read_episodes` gives them."""
    known = {"agent", "task", "place", "success", "return", "length", "seed", *EPISODE, *NAMES}
    options = [name for name in episodes.columns if name not in known and PART not in name]
    variants = episodes.groupby(["agent", "label", "task"])["hyperparameters"].nunique()
    said = []
    for key, rows in episodes.groupby(["agent", *NAMES, "task", *options], sort=False, dropna=False):
        agent, label, variant, task = key[:4]
        named = {name: value for name, value in zip(options, key[4:], strict=True) if not pd.isna(value)}
        if variants[agent, label, task] > 1:
            named = {"hyperparameters": variant or "not recorded"} | named
        setting = ", ".join(f"{name}={value}" for name, value in named.items())
        lines = [ends(rows), lengths(rows), agreement(rows), parts(rows)]
        text = "".join(f"  {line}\n" for line in lines if line)
        said.append(f"{printable(str(label))} on {printable(str(task))} ({printable(setting)})\n{text}")
    return "\n".join(said)


def ends(rows: pd.DataFrame) -> str:
    """How many episodes were solved, how many reached the time limit, and how many ended before."""
    limit = None
    with contextlib.suppress(UserError):
        limit = get_task(rows["task"].iloc[0]).domain.episode_limit
    solved = rows["success"] >= 1
    late = ~solved & (rows["length"] >= (limit or rows["length"].max()))
    early = int((~solved & ~late).sum())
    text = f"{len(rows)} episodes of {_count(_policies(rows).nunique(), 'policy', 'policies')}: {solved.sum()} solved"
    text += f" ({solved.mean():.0%}), {late.sum()} at the time limit" + (f" of {limit} steps" if limit else "")
    return text + (f", {early} ended before it" if early else "")


def lengths(rows: pd.DataFrame) -> str:
    """How many steps solved episodes take."""
    solved = rows.loc[rows["success"] >= 1, "length"]
    if solved.empty:
        return ""
    low, middle, high = solved.quantile([0.1, 0.5, 0.9])
    return f"solved after {middle:.0f} steps (median; 10% within {low:.0f}, 90% within {high:.0f})"


def agreement(rows: pd.DataFrame) -> str:
    """How far policies agree: on their share of solved episodes, and on which, where they played the same."""
    solved = (rows["success"] >= 1).astype(float)
    shares = solved.groupby(_policies(rows)).mean()
    if len(shares) < 2:
        return ""
    text = f"policies solve from {shares.min():.0%} to {shares.max():.0%}"
    table = rows.assign(solved=solved, policy=_policies(rows)).pivot_table("solved", EPISODE, "policy")
    table = table.dropna()
    if table.empty:
        return f"{text}, each of other episodes (the same: benchmark.evaluate --seeds)"
    every, none = table.min(axis=1).mean(), (1 - table.max(axis=1)).mean()
    return f"{text}; of {len(table)} episodes that all played, all solve {every:.0%}, none {none:.0%}"


def parts(rows: pd.DataFrame) -> str:
    """Of what the task asks for, what failed episodes have and lack at their end."""
    failed = rows[rows["success"] < 1]
    asked = failed[[name for name in rows.columns if name.startswith(PART)]].dropna(axis=1)
    if asked.empty:
        return ""
    counts = asked.sum(axis=1).astype(int).value_counts().sort_index()
    how_many = ", ".join(f"{number} of {asked.shape[1]} in {count}" for number, count in counts.items())
    each = ", ".join(f"{name.removeprefix(PART)} {1 - share:.0%}" for name, share in asked.mean().items())
    return f"failed episodes end with {how_many} in place; not in place: {printable(each)}"


def _policies(rows: pd.DataFrame) -> pd.Series:
    return rows["place"] + " seed " + rows["seed"].astype(str) + " step " + rows["step"].astype(str)


def _count(number: int, one: str, several: str) -> str:
    return f"{number} {one if number == 1 else several}"
