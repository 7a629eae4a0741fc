"""Single episodes, as `benchmark.evaluate` writes them: episodes.csv in folders of runs or beside policies."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from benchmark.common.errors import UserError
from benchmark.common.files import files_below
from benchmark.common.reading import Damaged, read_bytes

FILE = "episodes.csv"
NUMBERS = ("step", "seed", "episode_seed", "episodes_of", "episode", "success", "return", "length")
PART = "part: "
"""Before the names of the columns that say whether a thing that the task asks for was so at the end."""
NAMES = ("label", "hyperparameters")
"""What a run is shown under, and a digest of its hyperparameters: columns that older files do not have."""


def read_episodes(folders: Sequence[Path]) -> pd.DataFrame:
    """All reported episodes below some folders, a row each: agent, `NAMES`, task, the numbers of `NUMBERS`, parts, the
    values of what only acting reads, and the place of the run. One that was played several times counts once; of a
    sweep only the chosen setting.

    Raises a UserError where there is none, `Damaged` for a file that is no such table.
    """
    paths = sorted({path.resolve() for folder in folders for path in files_below(folder, FILE)})
    if not paths:
        raise UserError(f"no {FILE} below {', '.join(map(str, folders))}; `python -m benchmark.evaluate` writes it")
    found = pd.concat([_read(path).assign(place=str(_run_of(path.parent))) for path in paths], ignore_index=True)
    found = found[(found["pass"] == "report") & (found["chosen"] != 0)].drop(columns=["pass", "chosen"])
    outcome = ("success", "return", "length", *NAMES)
    same = [name for name in found.columns if name not in outcome and PART not in name]
    return found.drop_duplicates(same, keep="last").reset_index(drop=True)


def _read(path: Path) -> pd.DataFrame:
    try:
        rows = pd.read_csv(io.BytesIO(read_bytes(path) or b""), dtype=dict.fromkeys(NAMES, str))
    except (ValueError, UnicodeDecodeError) as error:
        raise Damaged(path, f"no table ({str(error).partition(chr(10))[0]})") from error
    if missing := [name for name in ("pass", "agent", "task", "chosen", *NUMBERS) if name not in rows]:
        raise Damaged(path, f"no column '{missing[0]}'")
    if wrong := [name for name in NUMBERS if not pd.api.types.is_numeric_dtype(rows[name]) or rows[name].isna().any()]:
        raise Damaged(path, f"column '{wrong[0]}' has something that is no number")
    labels = rows["label"].fillna(rows["agent"]) if "label" in rows else rows["agent"]
    variants = rows["hyperparameters"].fillna("") if "hyperparameters" in rows else ""
    return rows.assign(label=labels, hyperparameters=variants)


def _run_of(folder: Path) -> Path:
    """The folder of the run that played: what `--policy` has written lies in <run>/policies/[step-<n>/]seed-<k>."""
    above = folder.parent.parent if folder.parent.name.startswith("step-") else folder.parent
    return above.parent if above.name == "policies" and folder.name.startswith("seed-") else folder
