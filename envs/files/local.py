"""The files of datasets on disk: their names, where they lie, whether they are whole, and what is recorded of them.

Names and the default folder are OGBench's, so its own loader finds the files too: `<name>-v0.npz` (and
`<name>-v0-val.npz`, held out); a 100M-transition dataset is a folder `<name>-100m-v0` of `<name>-v0-000.npz` to
`<name>-v0-099.npz`. D4RL's lie in a folder of their own, by their paths at the source. Beside each file that was read
through is `<file>.json`: size, SHA-256, source and time.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import stat
import tempfile
import zipfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

import numpy as np

from benchmark.common.errors import UserError, check_choice
from envs.d4rl import data as d4rl
from envs.d4rl import environments as d4rl_environments
from envs.data.arrays import UNREADABLE, read_head
from envs.tasks import D4RL_TASKS, DOMAINS, get_domain

D4RL_NAMES = tuple(task.name for task in D4RL_TASKS)
DATA_DIR_VARIABLE = "RQL_DATA_DIR"
DEFAULT_DATA_DIR = "~/.ogbench/data"
OGBENCH = "https://rail.eecs.berkeley.edu/datasets/ogbench"
"""Where OGBench's files are published."""
REQUIRED = ("observations", "actions", "terminals")
BLOCK = 1 << 16
ZIP_MAGIC = b"PK\x03\x04"
HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"

# Megabytes of one file as users have reported them; "~": scaled from those by the values in a row.
REPORTED_MEGABYTES = {
    "antmaze-large-navigate": 243,
    "antmaze-giant-navigate": 241,
    "antmaze-large-stitch": 243,  # ~
    "humanoidmaze-medium-navigate": 1074,
    "humanoidmaze-large-navigate": 1074,  # ~
    "cube-single-play": 229,  # ~
    "cube-double-play": 297,
    "cube-triple-play": 1004,
    "cube-quadruple-play": 395,  # ~, one shard of a million transitions
    "puzzle-4x4-play": 262,  # the file of a million transitions, as many as a shard holds
}


class Refused(Exception):
    """Not what was asked for: its source does not have the file, or it holds something else. No use asking again."""


class Damaged(Exception):
    """The bytes on disk are not the bytes that were sent: truncated, or a checksum that does not agree."""


# ----------------------------------------------------------------------------------------------------
# Names and folders
# ----------------------------------------------------------------------------------------------------


def data_folder(data_dir: str | os.PathLike | None = None) -> Path:
    """Return the dataset folder: the argument, else $RQL_DATA_DIR, else OGBench's own ~/.ogbench/data.

    It need not exist yet; a UserError where none can be there (a loop of links, a file, a name too long).
    """
    if data_dir is None:
        data_dir = os.environ.get(DATA_DIR_VARIABLE) or DEFAULT_DATA_DIR
    elif not str(data_dir):
        raise UserError("the data folder has an empty name; leave it out for the default")
    folder = Path(data_dir)
    try:
        folder = folder.expanduser()
        if not stat.S_ISDIR(folder.stat().st_mode):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
    except FileNotFoundError:
        if folder.is_symlink():
            raise UserError(f"the data folder {folder} is a link to nowhere, {os.readlink(folder)}") from None
    except (OSError, RuntimeError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{str(folder)!r} cannot be the data folder: {reason}") from error
    return folder


def make_folder(folder: Path) -> None:
    """Make a folder for datasets; a UserError where that fails or nothing can be written into it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UserError(f"cannot write to {folder}: {error.strerror or error}") from None


def dataset_names() -> list[str]:
    """Names of the datasets that tasks here use."""
    sharded = [domain.dataset for domain in DOMAINS.values() if domain.shards]
    return [*(f"{domain.name}-v0" for domain in DOMAINS.values()), *sharded, *D4RL_NAMES]


def dataset_named(name: str) -> str:
    """The dataset that is named with or without '-v0', as `envs.generate` takes it too. Raises a UserError for others,
    which names the nearest.
    """
    known = dataset_names()
    return f"{name}-v0" if f"{name}-v0" in known else check_choice("dataset", name, known)


def files_of(name: str, validation: bool = False) -> list[str]:
    """Return the files of a dataset, relative to the data folder.

    Args:
        name: e.g. 'cube-double-play-v0' or 'puzzle-4x4-play-100m-v0'.
        validation: also the held-out files, which OGBench's own loader wants and training here does not.
    Raises:
        UserError: no task uses a dataset of that name.
    """
    if name in D4RL_NAMES:
        return [d4rl_file(name)]
    check_choice("dataset", name, dataset_names())
    suffixes = (".npz", "-val.npz") if validation else (".npz",)
    if not name.endswith("-100m-v0"):
        return [f"{name}{suffix}" for suffix in suffixes]
    domain = get_domain(name.removesuffix("-100m-v0"))
    return [f"{name}/{domain.name}-v0-{i:03d}{suffix}" for i in range(domain.shards) for suffix in suffixes]


def d4rl_file(name: str) -> str:
    """The HDF5 file of one of D4RL's tasks, relative to the data folder."""
    return f"{d4rl_environments.FOLDER}/{d4rl_environments.file_of(name)}"


# ----------------------------------------------------------------------------------------------------
# Records
# ----------------------------------------------------------------------------------------------------


def record_path(path: Path) -> Path:
    """Where the record of a dataset file lies: '<file>.json' beside it."""
    return path.with_name(f"{path.name}.json")


def read_record(path: Path) -> dict | None:
    """Return what was recorded of a dataset file (size, sha256, rows, source, time), None if nothing."""
    return read_json(record_path(path))


def is_verified(path: Path) -> bool:
    """Say whether the file is there and has the size it had when it was last checked in full."""
    record = read_record(path)
    return record is not None and path.is_file() and path.stat().st_size == record.get("size")


def missing(
    names: Sequence[str], data_dir: str | os.PathLike | None = None, validation: bool = False
) -> list[tuple[str, int | None]]:
    """Return the files a run on these datasets would have to download, without using the network.

    Args:
        names: dataset names; repeated ones count once.
    Returns:
        (file relative to the data folder, bytes), None where the size is unknown. A size is exact where a
        download has begun, else about what users of the dataset have reported.
    """
    folder = data_folder(data_dir)
    absent = []
    for name in dict.fromkeys(names):
        for file in files_of(name, validation):
            path = folder / file
            # An archive's directory is at its end, so a truncated file is not taken for one.
            whole = path.is_file() if path.suffix == ".hdf5" else zipfile.is_zipfile(path)
            if not is_verified(path) and not whole:
                absent.append((file, expected_size(path)))
    return absent


def expected_size(path: Path) -> int | None:
    """Bytes of a file that is not here: exact where a download has begun, else as reported; None where unknown."""
    for begun in path.parent.glob(f"{path.name}.*.part.json"):
        total = (read_json(begun) or {}).get("total")
        if isinstance(total, int) and total > 0:
            return total
    domain = re.sub(r"-v0(-\d{3})?(-val)?\.npz$", "", path.name)
    megabytes = REPORTED_MEGABYTES.get(domain)
    if megabytes is None:
        return None
    return megabytes * 10**6 // (10 if path.name.endswith("-val.npz") else 1)


def read_json(path: Path) -> dict | None:
    """Return the object that a JSON file holds, None where there is none that can be read."""
    try:
        value = json.loads(path.read_text())
    except (OSError, ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def write_json(path: Path, value: dict) -> None:
    """Replace a JSON file atomically."""
    draft = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    draft.write_text(json.dumps(value, indent=1) + "\n")
    os.replace(draft, path)


def write_record(path: Path, facts: dict, sha256: str, origin: dict) -> None:
    """Write down what the file is; `origin`: its source and what else is known of how it came about."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    size = path.stat().st_size
    write_json(record_path(path), {"time": now, **origin, "size": size, "sha256": sha256, **facts})


def adopt(path: Path) -> None:
    """Check and record a file that something else put there, keeping what `envs.generate` wrote about it.

    Raises:
        Damaged, Refused: as `check_structure`.
    """
    facts = check_structure(path)
    known = read_record(path) or {}
    written_with_it = "size" not in known and known.get("rows") == facts["rows"]
    write_record(path, facts, sha256_of(path), known if written_with_it else {"source": None})


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# ----------------------------------------------------------------------------------------------------
# What is inside a file
# ----------------------------------------------------------------------------------------------------


def check_structure(path: Path) -> dict:
    """Read a dataset file through once, in bounded memory, and check that it is one.

    Returns:
        {"rows": n, "observation_dim": d, "action_dim": a}
    Raises:
        Damaged: not a readable file (truncated, or a checksum does not agree).
        Refused: readable, but without the arrays, with unequal row counts, or values that are not finite.
    """
    with path.open("rb") as file:
        if file.read(len(HDF5_MAGIC)) == HDF5_MAGIC:
            return _check_hdf5(path)
    try:
        with zipfile.ZipFile(path) as archive:
            shapes = {name.removesuffix(".npy"): _read_member(archive, name) for name in archive.namelist()}
    except UNREADABLE as error:
        raise Damaged(f"not a whole .npz archive ({error})") from error
    absent = [key for key in REQUIRED if key not in shapes]
    if absent:
        raise Refused(f"no {', '.join(absent)} in it (only {', '.join(sorted(shapes)) or 'nothing'})")
    rows = {key: (shape[0] if shape else 0) for key, shape in shapes.items()}
    if len(set(rows.values())) != 1 or not rows["observations"]:
        raise Refused(f"row counts differ or are zero: {rows}")
    for key in ("observations", "actions"):
        if len(shapes[key]) != 2 or not shapes[key][1]:
            raise Refused(f"{key} have shape {shapes[key]}, not (rows, dimensions)")
    dims = {"observation_dim": shapes["observations"][1], "action_dim": shapes["actions"][1]}
    return {"rows": rows["observations"], **dims}


def _check_hdf5(path: Path) -> dict:
    try:
        return d4rl.check_structure(path)
    except (OSError, EOFError) as error:
        raise Damaged(f"not a whole HDF5 file ({error})") from error
    except ValueError as error:
        raise Refused(str(error)) from error


def _read_member(archive: zipfile.ZipFile, name: str) -> tuple[int, ...]:
    """Return the shape of one array, having read all of it: the end of the read checks its CRC."""
    with archive.open(name) as member:
        try:
            return _read_array(name, member)
        except Refused:
            # Judged wrong before its end; were its bytes damaged, the end of the read says so instead.
            while member.read(BLOCK):
                pass
            raise


def _read_array(name: str, member: IO[bytes]) -> tuple[int, ...]:
    try:
        head = read_head(name, member)
    except ValueError as error:
        raise Refused(f"{name} in it is not an array") from error
    shape, dtype, left = head.shape, head.dtype, head.nbytes
    if dtype.hasobject:
        raise Refused(f"{name} in it holds Python objects, not numbers")
    while block := member.read(dtype.itemsize * BLOCK):
        left -= len(block)
        if left < 0 or len(block) % dtype.itemsize:
            break
        if dtype.kind == "f" and not np.isfinite(np.frombuffer(block, dtype)).all():
            raise Refused(f"{name} in it has values that are not finite")
    if left:
        raise Refused(f"{name} in it is not as long as its header says")
    return shape
