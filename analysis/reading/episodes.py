"""Single episodes, as `benchmark.evaluate` writes them: episodes.csv in folders of runs or beside policies."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from benchmark.common.errors import UserError
from benchmark.common.reading import Damaged, read_bytes

FILE = "episodes.csv"
NUMBERS = ("step", "seed", "episode_seed", "episodes_of", "episode", "success", "return", "length")
PART = "part: "
"""Before the names of the columns that say whether a thing that the task asks for was so at the end."""


def read_episodes(folders: Sequence[Path]) -> pd.DataFrame:
    """All reported episodes below some folders, a row each: agent, task, the numbers of `NUMBERS`, parts, and the
    values of what only acting reads. One that was played several times counts once; of a sweep only the chosen setting.

    Raises a UserError where there is none, `Damaged` for a file that is no such table.
    """
    paths = sorted({path.resolve() for folder in folders for path in folder.rglob(FILE)})
    if not paths:
        raise UserError(f"no {FILE} below {', '.join(map(str, folders))}; `python -m benchmark.evaluate` writes it")
    found = pd.concat([_read(path).assign(place=str(path.parent)) for path in paths], ignore_index=True)
    found = found[(found["pass"] == "report") & (found["chosen"] != 0)].drop(columns=["pass", "chosen"])
    same = [name for name in found.columns if name not in ("success", "return", "length") and PART not in name]
    return found.drop_duplicates(same, keep="last").reset_index(drop=True)


def _read(path: Path) -> pd.DataFrame:
    try:
        rows = pd.read_csv(io.BytesIO(read_bytes(path) or b""))
    except (ValueError, UnicodeDecodeError) as error:
        raise Damaged(path, f"no table ({str(error).partition(chr(10))[0]})") from error
    if missing := [name for name in ("pass", "agent", "task", "chosen", *NUMBERS) if name not in rows]:
        raise Damaged(path, f"no column '{missing[0]}'")
    if wrong := [name for name in NUMBERS if not pd.api.types.is_numeric_dtype(rows[name]) or rows[name].isna().any()]:
        raise Damaged(path, f"column '{wrong[0]}' has something that is no number")
    return rows
