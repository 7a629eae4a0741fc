"""Datasets over HTTP that arrive whole or not at all, once per file system.

    python -m envs.download --suite=ogbench [--data-dir=DIR] [--base=URL ...]
    python -m envs.download --dataset cube-double-play-v0 puzzle-4x4-play-100m-v0

Names and the default folder are OGBench's, so its own loader finds the files too: `<name>-v0.npz` (and
`<name>-v0-val.npz` with `--validation`); a 100M-transition dataset is a folder `<name>-100m-v0` of
`<name>-v0-000.npz` to `<name>-v0-099.npz`.

How a file arrives. Under a lock it grows as `<file>.<source>.part`, one for each source so that bytes of
two sources never mix, and resumes from there with a range request guarded by the source's ETag or date.
When every byte is in, the archive is read once (checksums, keys, row counts, finite values) and only then
renamed; size, SHA-256, source and time go into `<file>.json`. A file whose size is the recorded one is
taken as it is.

Sources are tried in order and in turns: one that lacks the file, or serves something else, is not asked
again; one that is down, stalls or drops is asked again after an exponential, jittered wait, or the one its
`Retry-After` names. While bytes keep arriving the count of turns starts anew.

Locks are `flock` through `filelock`: the kernel releases them when a process dies, and Linux carries them
over NFS. A file system without `flock` falls back to filelock's marker files, which recognise a dead holder
on the same host; one left by another host that crashed is in `.locks/` and may be deleted by hand.

The transfer is `requests` with the loop below: pooch, the usual choice, neither resumes nor locks.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import re
import shutil
import time
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

import numpy as np
import requests
from filelock import FileLock, Timeout
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from benchmark.errors import UserError, check_choice, run_main
from envs import d4rl
from envs.tasks import D4RL_TASKS, DOMAINS, get_domain

D4RL_NAMES = tuple(task.name for task in D4RL_TASKS)
DATA_DIR_VARIABLE = "RQL_DATA_DIR"
BASES_VARIABLE = "RQL_DATA_BASES"
DEFAULT_DATA_DIR = "~/.ogbench/data"
DEFAULT_BASES = (
    "https://rail.eecs.berkeley.edu/datasets/ogbench",
    # The mirror that OGBench's author names (its issue 49): the same flat layout, without the 100M folders.
    "https://huggingface.co/datasets/zhouzypaul/ogbench_datasets/resolve/main",
)

GENERATED = ("cube-", "scene-", "puzzle-", "pointmaze-")
"""Beginnings of the datasets that `envs.generate` can make: scripted policies recorded them."""

REQUIRED = ("observations", "actions", "terminals")
BLOCK = 1 << 16
ZIP_MAGIC = b"PK\x03\x04"
HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"
SPARE_BYTES = 64 << 20
"""Disk space left free beside a download."""

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


@dataclass(frozen=True)
class Patience:
    """How long to wait for what, in seconds, and how often to try."""

    connect: float = 10.0
    """For a connection."""
    stall: float = 60.0
    """For the next bytes."""
    rounds: int = 6
    """Turns over the sources without a new byte, after which the file is given up."""
    first_wait: float = 1.0
    """Between the first two turns; it doubles from turn to turn."""
    longest_wait: float = 60.0
    """Most between two turns, and most that a `Retry-After` is obeyed."""
    lock_poll: float = 1.0
    """Between two looks at a lock that another process holds."""


class Refused(Exception):
    """The source does not have the file, or it is not what was asked for: no use asking again."""


class Interrupted(Exception):
    """The transfer ended early; another may succeed, `after` seconds from now if the source said so."""

    def __init__(self, why: str, after: float = 0.0):
        super().__init__(why)
        self.after = after


class Damaged(Exception):
    """The bytes on disk are not the bytes that were sent: truncated, or a checksum that does not agree."""


# ----------------------------------------------------------------------------------------------------
# Names, folders, records
# ----------------------------------------------------------------------------------------------------


def data_folder(data_dir: str | os.PathLike | None = None) -> Path:
    """Return the dataset folder: the argument, else $RQL_DATA_DIR, else OGBench's own ~/.ogbench/data."""
    return Path(data_dir or os.environ.get(DATA_DIR_VARIABLE) or DEFAULT_DATA_DIR).expanduser()


def base_addresses(bases: Sequence[str] | None = None) -> tuple[str, ...]:
    """Return the sources in order: the argument, else $RQL_DATA_BASES (spaces between), else the known two."""
    found = tuple(bases or os.environ.get(BASES_VARIABLE, "").split() or DEFAULT_BASES)
    for base in found:
        parts = urlsplit(base)
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise UserError(f"base address '{base}' is not an http(s) address, such as {DEFAULT_BASES[0]}")
    return tuple(base.rstrip("/") for base in found)


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
    known = [f"{d.name}-v0" for d in DOMAINS.values()] + [d.dataset for d in DOMAINS.values() if d.shards]
    check_choice("dataset", name, [*known, *D4RL_NAMES])
    suffixes = (".npz", "-val.npz") if validation else (".npz",)
    if not name.endswith("-100m-v0"):
        return [f"{name}{suffix}" for suffix in suffixes]
    domain = get_domain(name.removesuffix("-100m-v0"))
    return [f"{name}/{domain.name}-v0-{i:03d}{suffix}" for i in range(domain.shards) for suffix in suffixes]


def d4rl_file(name: str) -> str:
    """The HDF5 file of one of D4RL's tasks, relative to the data folder."""
    return f"{d4rl.FOLDER}/{d4rl.file_of(name)}"


def addresses(file: str, bases: Sequence[str]) -> list[str]:
    """Where to ask for a file, in order: below each base; D4RL's at its own source, or below bases that were named."""
    if not file.startswith(f"{d4rl.FOLDER}/"):
        return [f"{base}/{file}" for base in bases]
    path = file.removeprefix(f"{d4rl.FOLDER}/")
    return [f"{base}/{path}" for base in (d4rl.BASES if tuple(bases) == DEFAULT_BASES else bases)]


def read_record(path: Path) -> dict | None:
    """Return what was recorded of a dataset file (size, sha256, rows, source, time), None if nothing."""
    return _read_json(Path(f"{path}.json"))


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
                absent.append((file, _expected_size(path)))
    return absent


def _expected_size(path: Path) -> int | None:
    for begun in path.parent.glob(f"{path.name}.*.part.json"):
        total = (_read_json(begun) or {}).get("total")
        if total:
            return total
    domain = re.sub(r"-v0(-\d{3})?(-val)?\.npz$", "", path.name)
    megabytes = REPORTED_MEGABYTES.get(domain)
    if megabytes is None:
        return None
    return megabytes * 10**6 // (10 if path.name.endswith("-val.npz") else 1)


def _read_json(path: Path) -> dict | None:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return None


def _write_json(path: Path, value: dict) -> None:
    draft = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    draft.write_text(json.dumps(value, indent=1) + "\n")
    os.replace(draft, path)


def _record(path: Path, facts: dict, sha256: str, origin: dict) -> None:
    """Write down what the file is; `origin`: its source and what else is known of how it came about."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    size = path.stat().st_size
    _write_json(Path(f"{path}.json"), {"time": now, **origin, "size": size, "sha256": sha256, **facts})


def _adopt(path: Path) -> None:
    """Check and record a file that something else put there, keeping what `envs.generate` wrote about it.

    Raises:
        Damaged, Refused: as `check_structure`.
    """
    facts = check_structure(path)
    known = read_record(path) or {}
    written_with_it = "size" not in known and known.get("rows") == facts["rows"]
    _record(path, facts, _sha256(path), known if written_with_it else {"source": None})


def _sha256(path: Path) -> str:
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
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
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
    except OSError as error:
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
    readers = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    try:
        shape, _, dtype = readers[np.lib.format.read_magic(member)](member)
    except (ValueError, KeyError) as error:
        raise Refused(f"{name} in it is not an array") from error
    if dtype.hasobject:
        raise Refused(f"{name} in it holds Python objects, not numbers")
    left = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    while block := member.read(dtype.itemsize * BLOCK):
        left -= len(block)
        if left < 0 or len(block) % dtype.itemsize:
            break
        if dtype.kind == "f" and not np.isfinite(np.frombuffer(block, dtype)).all():
            raise Refused(f"{name} in it has values that are not finite")
    if left:
        raise Refused(f"{name} in it is not as long as its header says")
    return shape


# ----------------------------------------------------------------------------------------------------
# One source
# ----------------------------------------------------------------------------------------------------


class Source:
    """One address of one file, and what has arrived from it."""

    def __init__(self, url: str, path: Path):
        self.url = url
        self.name = urlsplit(url).netloc
        key = hashlib.sha256(url.encode()).hexdigest()[:8]
        self.part = path.with_name(f"{path.name}.{key}.part")
        self.note = Path(f"{self.part}.json")

    def arrived(self) -> int:
        """Bytes on disk; 0 where it is not known which version of the file they belong to."""
        return self.part.stat().st_size if self.note.exists() and self.part.exists() else 0

    def discard(self) -> None:
        """Forget what has arrived."""
        self.part.unlink(missing_ok=True)
        self.note.unlink(missing_ok=True)

    def fetch(self, session: requests.Session, display: Display, patience: Patience) -> tuple[dict, str]:
        """Bring the file to `self.part`, going on for as long as new bytes arrive.

        Returns:
            (facts of `check_structure`, sha256)
        Raises:
            Interrupted: an attempt brought nothing new, or what came was damaged.
            Refused: this source cannot serve the file.
            UserError: the disk is full.
        """
        most = self.arrived()
        while True:
            try:
                self._transfer(session, display, patience)
                break
            except Interrupted as interruption:
                if self.arrived() <= most or interruption.after:
                    raise
                most = self.arrived()
                display.say(f"{self.name}: {interruption}; going on at byte {most:,}")
                time.sleep(patience.first_wait * random.random())
        try:
            facts = check_structure(self.part)
            sha256 = _sha256(self.part)
            announced = (_read_json(self.note) or {}).get("sha256")
            if announced and announced != sha256:
                raise Damaged(f"sha256 {sha256[:12]}… where the source announced {announced[:12]}…")
            return facts, sha256
        except Damaged as damage:
            self.discard()
            raise Interrupted(str(damage)) from damage
        except Refused:
            self.discard()
            raise

    def _transfer(self, session: requests.Session, display: Display, patience: Patience) -> None:
        """Make one request for what is still missing and append the answer to the part."""
        begun = _read_json(self.note) or {}
        offset = self.arrived()
        # Compressed on the way, lengths and ranges would count other bytes than those written.
        headers = {"Accept-Encoding": "identity"}
        if offset:
            headers["Range"] = f"bytes={offset}-"
            if begun.get("validator"):
                headers["If-Range"] = begun["validator"]
        try:
            with session.get(
                self.url, headers=headers, stream=True, timeout=(patience.connect, patience.stall)
            ) as response:
                start = self._accept(response, offset, begun, patience)
                if start is not None:
                    self._write(response, start, display)
        except requests.RequestException as error:
            raise Interrupted(_in_short(error, patience)) from error
        except OSError as error:
            raise UserError(f"cannot write {self.part}: {error.strerror or error}") from error

    def _accept(self, response: requests.Response, offset: int, begun: dict, patience: Patience) -> int | None:
        """Return the byte at which the answer's body starts, None where the part is whole already."""
        status = response.status_code
        where = re.match(r"bytes (?:(\d+)-\d+|\*)/(\d+|\*)$", response.headers.get("Content-Range", ""))
        start, total = (where[1], where[2]) if where else (None, None)
        if status == 200:
            length = response.headers.get("Content-Length", "")
            note = {"url": self.url, "validator": _validator(response), "sha256": _announced_sha256(response)}
            # The old bytes go before the note on the new ones comes: a kill in between must not pair them.
            self.discard()
            self.part.touch()
            _write_json(self.note, {**note, "total": int(length) if length.isdigit() else None})
            return 0
        if status == 416 and offset and total == str(offset):
            return None
        if status in (206, 416):
            same_total = begun.get("total") is None or total in ("*", str(begun["total"]))
            same_version = begun.get("validator") in (None, _validator(response))
            if status == 206 and start == str(offset) and same_total and same_version:
                return offset
            self.discard()
            raise Interrupted("the file changed at the source, starting over")
        if status in (408, 425, 429) or status >= 500:
            after = min(_retry_after(response), patience.longest_wait)
            raise Interrupted(f"HTTP {status} {response.reason}", after)
        raise Refused(f"HTTP {status} {response.reason}")

    def _write(self, response: requests.Response, offset: int, display: Display) -> None:
        total = (_read_json(self.note) or {}).get("total")
        if total is not None:
            _check_space(self.part.parent, total - offset)
        display.transfer(offset, total)
        with self.part.open("r+b") as file:
            file.seek(offset)
            file.truncate()
            for block in response.iter_content(BLOCK):
                if file.tell() == 0 and not block.startswith((ZIP_MAGIC, HDF5_MAGIC)):
                    what = "a web page" if block.lstrip().startswith(b"<") else "something else"
                    raise Refused(f"it served {what} instead of a dataset")
                file.write(block)
                display.advance(len(block))
            file.flush()
            os.fsync(file.fileno())
            if total is not None and file.tell() < total:
                raise Interrupted(f"it closed after {file.tell():,} of {total:,} bytes")


def _validator(response: requests.Response) -> str | None:
    """Return what may stand in If-Range: a strong ETag, else the date of the last change."""
    etag = response.headers.get("ETag", "")
    return etag if etag and not etag.startswith("W/") else response.headers.get("Last-Modified")


def _announced_sha256(response: requests.Response) -> str | None:
    """Return the SHA-256 that Hugging Face announces for large files, on its redirect, as X-Linked-ETag."""
    for answer in (*response.history, response):
        digest = answer.headers.get("X-Linked-ETag", "").strip('"')
        if re.fullmatch(r"[0-9a-f]{64}", digest):
            return digest
    return None


def _retry_after(response: requests.Response) -> float:
    """Return the seconds that Retry-After asks for (a number or a date), 0 where it asks for none."""
    text = response.headers.get("Retry-After", "")
    if text.isdigit():
        return float(text)
    try:
        return max(0.0, (parsedate_to_datetime(text) - datetime.now(UTC)).total_seconds())
    except (TypeError, ValueError):
        return 0.0


def _in_short(error: requests.RequestException, patience: Patience) -> str:
    text = str(error)
    if isinstance(error, requests.ConnectTimeout):
        return f"no connection within {patience.connect:g} s"
    if isinstance(error, requests.Timeout) or "Read timed out" in text:
        return f"no data for {patience.stall:g} s"
    if isinstance(error, requests.exceptions.ProxyError):
        return "the proxy refused"
    for sign, short in (
        ("resolve", "its name is not found"),
        ("refused", "connection refused"),
        ("unreachable", "network unreachable"),
        ("CERTIFICATE", "its certificate is not trusted"),
        ("IncompleteRead", "the connection dropped"),
        ("reset", "the connection was reset"),
    ):
        if sign in text:
            return short
    return type(error).__name__


def _check_space(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free - SPARE_BYTES
    if needed > free:
        raise UserError(
            f"{folder} has {max(free, 0) / 1e9:.1f} GB to spare, the download needs {needed / 1e9:.1f} GB; "
            f"free some, or name another folder with --data-dir or {DATA_DIR_VARIABLE}"
        )


# ----------------------------------------------------------------------------------------------------
# One file, whoever else wants it
# ----------------------------------------------------------------------------------------------------


class Display:
    """Progress on stderr: bars on a terminal, one line per event elsewhere, nothing when switched off."""

    def __init__(self, enabled: bool = True, total: int | None = None):
        self.enabled = enabled
        self.console = Console(stderr=True, highlight=False)
        self.bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            console=self.console,
            disable=not (enabled and self.console.is_terminal),
        )
        self.all = self.bars.add_task("all files", total=total) if total else None
        self.one = self.bars.add_task("", total=None, visible=False)

    def __enter__(self) -> Display:
        self.bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bars.stop()

    def say(self, text: str) -> None:
        """Print one line."""
        if self.enabled:
            self.console.print(text, soft_wrap=True, markup=False)

    def begin(self, file: str) -> None:
        """Name the file that the next bytes belong to."""
        self.bars.remove_task(self.one)
        self.one = self.bars.add_task(file, total=None)

    def transfer(self, done: float, total: float | None) -> None:
        """Set how much of the file is there, and its size."""
        gained = done - self.bars.tasks[-1].completed
        self.bars.update(self.one, completed=done, total=total)
        if self.all is not None:
            self.bars.advance(self.all, gained)

    def advance(self, count: int) -> None:
        """Count bytes that have arrived."""
        self.transfer(self.bars.tasks[-1].completed + count, self.bars.tasks[-1].total)


@contextmanager
def _locked(folder: Path, file: str, display: Display, patience: Patience) -> Iterator[None]:
    """Hold the file's lock; while another process has it, show how far that one is."""
    path = folder / ".locks" / f"{file.replace('/', '_')}.lock"
    lock = FileLock(path)
    waiting = False
    while True:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            lock.acquire(timeout=patience.lock_poll if waiting else 0, poll_interval=patience.lock_poll)
            break
        except Timeout:
            if not waiting:
                display.say(f"{file}: another process is fetching it, waiting (lock {path})")
            waiting = True
            target = folder / file
            parts = [p.stat().st_size for p in target.parent.glob(f"{target.name}.*.part")]
            display.transfer(max(parts, default=0), _expected_size(target))
        except OSError as error:
            raise UserError(
                f"cannot lock {path}: {error.strerror or error}; download with one process to a file system "
                "that has locks, or mount this one with them"
            ) from error
    try:
        yield
    finally:
        lock.release()


def _ensure_file(file: str, folder: Path, bases: Sequence[str], display: Display, patience: Patience) -> None:
    """Return when `folder / file` is whole and checked; fetch it unless it is."""
    path = folder / file
    if is_verified(path):
        return
    if file.startswith(f"{d4rl.FOLDER}/"):
        d4rl.import_h5py()  # before the transfer: the check after it needs it
    display.begin(file)
    if path.is_file() and not os.access(path.parent, os.W_OK):
        _check_unrecorded(path)
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot make the data folder {path.parent}: {error.strerror}") from error
    with _locked(folder, file, display, patience):
        if is_verified(path):
            return
        if path.is_file():
            try:
                _adopt(path)
                return
            except (Damaged, Refused) as fault:
                display.say(f"{path} is of no use: {fault}; it becomes {file}.corrupt when a whole one is here")
        source, facts, sha256 = _fetch_from_any(file, path, bases, display, patience)
        if path.is_file():
            os.replace(path, f"{path}.corrupt")
        os.replace(source.part, path)
        _record(path, facts, sha256, {"source": source.url})
        for leftover in path.parent.glob(f"{path.name}.*.part*"):
            leftover.unlink()
        display.say(f"{file}: {path.stat().st_size / 1e6:.1f} MB from {source.name}")


def _check_unrecorded(path: Path) -> None:
    """Check a file in a folder where nothing can be recorded, such as a shared read-only one."""
    try:
        check_structure(path)
    except (Damaged, Refused) as fault:
        raise UserError(f"{path} is of no use ({fault}) and its folder cannot be written to") from fault


def _fetch_from_any(
    file: str, path: Path, bases: Sequence[str], display: Display, patience: Patience
) -> tuple[Source, dict, str]:
    """Try the sources in turns until one has brought the file; return it with the file's facts and sha256."""
    waiting_for = [Source(address, path) for address in addresses(file, bases)]
    failures: dict[str, str] = {}
    with requests.Session() as session:
        for turn in range(patience.rounds):
            after = 0.0
            for source in list(waiting_for):
                before = failures.get(source.url)
                try:
                    return source, *source.fetch(session, display, patience)
                except Refused as refusal:
                    waiting_for.remove(source)
                    failures[source.url] = f"{source.name}: {refusal}"
                except Interrupted as interruption:
                    after = max(after, interruption.after)
                    failures[source.url] = f"{source.name}: {interruption}"
                if failures[source.url] != before:
                    display.say(f"{file}: {failures[source.url]}")
            if not waiting_for:
                break
            if turn + 1 < patience.rounds:
                pause = min(patience.first_wait * 2**turn, patience.longest_wait) * random.uniform(0.5, 1.0)
                time.sleep(max(after, pause))
    raise UserError(_advice(file, path, list(failures.values())))


def _advice(file: str, path: Path, failures: list[str]) -> str:
    """Say in one line what was tried and what a person can do now."""
    makeable = ", ".join(f"{start}*" for start in GENERATED)
    if path.name.startswith(GENERATED):
        shards = file.count("/")
        name = re.sub(r"(-100m)?-v0$", "", file.split("/")[0].removesuffix(".npz").removesuffix("-val"))
        folder = path.parents[shards]
        form = f" --shards={get_domain(name).shards}" if shards else ""
        instead = f"or generate it: python -m envs.generate --dataset={name} --out={folder}{form}"
    else:
        instead = f"this one was recorded with trained policies and cannot be generated here ({makeable} can)"
    kept = "; what has arrived is kept, the next call resumes" if list(path.parent.glob("*.part")) else ""
    bad = "; the file here is damaged and stays in place" if path.is_file() else ""
    return (
        f"cannot fetch {file}: {'; '.join(failures)}{kept}{bad}; name a mirror with --base=URL or "
        f"{BASES_VARIABLE}, or put the file into {path.parent} by hand; {instead}"
    )


# ----------------------------------------------------------------------------------------------------
# Datasets, and the command
# ----------------------------------------------------------------------------------------------------


def ensure_dataset(
    name: str,
    data_dir: str | os.PathLike | None = None,
    progress: bool = True,
    bases: Sequence[str] | None = None,
    validation: bool = False,
    patience: Patience = Patience(),
) -> Path:
    """Return where a dataset is, fetching what is missing of it; processes that ask together fetch it once.

    Args:
        name: e.g. 'cube-double-play-v0', or 'puzzle-4x4-play-100m-v0' for one in shards.
        data_dir: see `data_folder`.
        progress: whether to show progress on stderr.
        bases: addresses of sources, in order; see `base_addresses`.
        validation: also fetch the held-out files.
        patience: time-outs and retries.
    Returns:
        The .npz file, or the folder of shards.
    Raises:
        UserError: unknown name, no source could serve it, no space, no permission.
    """
    folder = data_folder(data_dir)
    files = files_of(name, validation)
    bases = base_addresses(bases)
    if not all(is_verified(folder / file) for file in files):
        with Display(progress) as display:
            for file in files:
                _ensure_file(file, folder, bases, display, patience)
    return (folder / files[0]).parent if name.endswith("-100m-v0") else folder / files[0]


def remote_sizes(files: Sequence[str], bases: Sequence[str], patience: Patience) -> dict[str, int]:
    """Return the bytes of each file, as far as the sources tell; one that does not answer is asked once."""

    def ask(session: requests.Session, turn: int, file: str) -> int | None:
        known = addresses(file, bases)
        try:
            answer = session.head(known[min(turn, len(known) - 1)], allow_redirects=True, timeout=patience.connect)
        except requests.RequestException:
            return None
        length = answer.headers.get("Content-Length", "")
        return int(length) if answer.ok and length.isdigit() else None

    sizes: dict[str, int] = {}
    with requests.Session() as session, ThreadPoolExecutor(8) as pool:
        for turn in range(len(bases)):
            left = [file for file in files if file not in sizes]
            if not left or ask(session, turn, left[0]) is None:
                continue
            answers = pool.map(lambda file, turn=turn: ask(session, turn, file), left)
            sizes |= {file: size for file, size in zip(left, answers, strict=True) if size}
    return sizes


def download(
    names: Sequence[str],
    data_dir: str | os.PathLike | None = None,
    bases: Sequence[str] | None = None,
    validation: bool = False,
    progress: bool = True,
    patience: Patience = Patience(),
) -> None:
    """Fetch several datasets, with one bar over all of them; one that fails does not stop the others.

    Raises:
        UserError: before any transfer, where the disk is too small; at the end, where datasets are missing.
    """
    folder = data_folder(data_dir)
    bases = base_addresses(bases)
    names = list(dict.fromkeys(names))
    wanted = [file for name in names for file in files_of(name, validation)]
    todo = [file for file in wanted if not is_verified(folder / file)]
    sizes = remote_sizes([file for file in todo if not (folder / file).is_file()], bases, patience)
    total = sum(sizes.values())
    folder.mkdir(parents=True, exist_ok=True)
    begun = sum(p.stat().st_size for file in sizes for p in folder.glob(f"{file}.*.part"))
    _check_space(folder, total - begun)
    failed = {}
    known = f"{total / 1e9:.2f} GB to fetch" if sizes or not todo else "no source told a size"
    with Display(progress, total) as display:
        display.say(f"{len(wanted) - len(todo)} of {len(wanted)} files are here, {known}")
        for name in names:
            try:
                for file in files_of(name, validation):
                    _ensure_file(file, folder, bases, display, patience)
            except UserError as error:
                failed[name] = str(error)
                if len(names) > 1:
                    display.say(f"{name}: {error}")
    if len(failed) == 1:
        raise UserError(next(iter(failed.values())))
    if failed:
        raise UserError(f"{len(failed)} of {len(names)} datasets missing (reasons above): {', '.join(failed)}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line and fetch what it names."""
    parser = argparse.ArgumentParser(
        prog="python -m envs.download", description="Fetch datasets; what is there already is left as it is."
    )
    parser.add_argument("--suite", help="every dataset of a suite, e.g. ogbench")
    parser.add_argument("--domain", nargs="+", default=[], metavar="NAME", help="e.g. cube-double-play")
    parser.add_argument("--dataset", nargs="+", default=[], metavar="NAME", help="e.g. cube-double-play-v0")
    parser.add_argument("--data-dir", help=f"default ${DATA_DIR_VARIABLE}, else {DEFAULT_DATA_DIR}")
    parser.add_argument(
        "--base",
        action="append",
        metavar="URL",
        help=f"source, repeat for several in order; default ${BASES_VARIABLE}, else {' '.join(DEFAULT_BASES)}",
    )
    parser.add_argument("--validation", action="store_true", help="also the held-out -val files")
    parser.add_argument("--dry-run", action="store_true", help="print what is missing and stop")
    options = parser.parse_args(arguments)

    names = [*options.dataset, *(get_domain(name).dataset for name in options.domain)]
    if options.suite:
        from benchmark.suites import get_suite  # a suite is the benchmark's word; only this option needs it

        suite = get_suite(options.suite)
        if suite.data is not None:
            raise UserError(f"suite '{suite.name}' generates its own data, there is nothing to download")
        names += [task.dataset for task in suite.tasks]
    if not names:
        raise UserError("nothing to fetch: give --suite, --domain or --dataset")
    if options.dry_run:
        for file, size in missing(names, options.data_dir, options.validation):
            print(f"{file}  {'size unknown' if size is None else f'about {size / 1e6:.0f} MB'}")
        return 0
    download(names, options.data_dir, options.base, options.validation)
    print(f"all here: {data_folder(options.data_dir)}")
    return 0


if __name__ == "__main__":
    run_main(main)
