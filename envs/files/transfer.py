"""One file from one address over HTTP: resumed where it stopped, checked when it is here.

A file grows as `<file>.<source>.part`, one for each source so that bytes of two sources never mix, and resumes from
there with a range request guarded by the source's ETag or date.

The transfer is `requests` with the loop below: pooch, the usual choice, neither resumes nor locks.
"""

from __future__ import annotations

import hashlib
import os
import random
import re
import shutil
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from urllib.parse import urlsplit

import requests
from rich.progress import DownloadColumn, TransferSpeedColumn

from benchmark.common.errors import UserError
from benchmark.common.terminal import console_for, progress_bar
from envs.files.local import (
    BLOCK,
    DATA_DIR_VARIABLE,
    HDF5_MAGIC,
    ZIP_MAGIC,
    Damaged,
    Refused,
    check_structure,
    read_json,
    sha256_of,
    write_json,
)

SPARE_BYTES = 64 << 20
"""Disk space left free beside a download."""


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


DEFAULT_PATIENCE = Patience()


class Interrupted(Exception):
    """The transfer ended early; another may succeed, `after` seconds from now if the source said so."""

    def __init__(self, why: str, after: float = 0.0):
        super().__init__(why)
        self.after = after


class Display:
    """Progress on stderr: bars on a terminal, one line per event elsewhere, nothing when switched off."""

    def __init__(self, enabled: bool = True, total: int | None = None):
        self.enabled = enabled
        self.console = console_for(stderr=True)
        self.bars = progress_bar(self.console, DownloadColumn(), TransferSpeedColumn(), hidden=not enabled)
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
            sha256 = sha256_of(self.part)
            announced = (read_json(self.note) or {}).get("sha256")
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
        begun = read_json(self.note) or {}
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
            write_json(self.note, {**note, "total": int(length) if length.isdigit() else None})
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
        total = (read_json(self.note) or {}).get("total")
        if total is not None:
            check_space(self.part.parent, total - offset)
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


def check_space(folder: Path, needed: int) -> None:
    """Raise a UserError unless the disk has that many bytes to spare."""
    free = shutil.disk_usage(folder).free - SPARE_BYTES
    if needed > free:
        raise UserError(
            f"{folder} has {max(free, 0) / 1e9:.1f} GB to spare, the download needs {needed / 1e9:.1f} GB; "
            f"free some, or name another folder with --data-dir or {DATA_DIR_VARIABLE}"
        )
