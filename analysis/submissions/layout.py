"""What a submission is: a folder of records that stands for itself.

submission.json                                  which files there are, with their sizes and digests
card.md                                          what the records say in all, for people to read
README.md                                        optional: words of those who send it
<agent>/<task>/seeds-<seeds>/config.json         as in the run store (`benchmark.runs.record`), without code,
                             provenance.json     logs and checkpoints, and without where files lay on the
                             status.json         machine that made them
                             train.csv
                             eval.csv            every evaluation of every seed
"""

from __future__ import annotations

import hashlib
import re
import shlex
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from analysis.reading.cache import SEALED
from benchmark.common.reading import OBJECT, WHOLE, Damaged, check_fields, read_json

SCHEMA = 1
INDEX = SEALED
CARD = "card.md"
WORDS = "README.md"
RECORDS = ("config.json", "provenance.json", "status.json", "train.csv", "eval.csv")
"""Files of a run that are sent."""
MOST_FILE_BYTES = 20_000_000
MOST_FILES = 100_000
FOLDERS = re.compile(r"(?:(?<=^)|(?<=[=,:]))(?:~[^/,]*)?/(?:[^/,]*/)*")
"""The folders of an absolute path where a word of a command line begins with one, or has one as a value."""
PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.,()=+-]{0,199}")
"""What a folder of a submission may be called."""


@dataclass(frozen=True)
class Entry:
    """What the index says of a file."""

    size: int
    sha256: str


def entry_of(content: bytes) -> Entry:
    """The entry of a file with that content."""
    return Entry(len(content), hashlib.sha256(content).hexdigest())


def is_allowed(name: str) -> bool:
    """Whether a file of that path, relative to the submission and with slashes, belongs into one."""
    if name in (INDEX, CARD, WORDS):
        return True
    parts = PurePosixPath(name).parts
    return len(parts) == 4 and parts[-1] in RECORDS and all(PLAIN.fullmatch(part) for part in parts)


def read_index(folder: Path) -> dict[str, Entry]:
    """The files that a submission says it has. Raises `Damaged` where it does not say so in a form that is known."""
    path = folder / INDEX
    index = read_json(path)
    if index is None:
        raise Damaged(path, "missing")
    check_fields(path, index, {"schema": WHOLE, "files": OBJECT})
    if index.get("schema") != SCHEMA:
        raise Damaged(path, f"schema is {index.get('schema')}; this version reads {SCHEMA}")
    files = index.get("files", {})
    if len(files) > MOST_FILES:
        raise Damaged(path, f"lists {len(files):,} files; at most {MOST_FILES:,} are allowed")
    entries = {}
    for name, entry in files.items():
        if not is_allowed(name):
            raise Damaged(path, f"lists {name!r:.80}, which no submission holds")
        if not (isinstance(entry, dict) and type(entry.get("bytes")) is int and isinstance(entry.get("sha256"), str)):
            raise Damaged(path, f"says of {name} neither bytes nor sha256")
        entries[name] = Entry(entry["bytes"], entry["sha256"])
    return entries


def without_places(start: dict[str, Any]) -> dict[str, Any]:
    """An entry of provenance.json without what names a place on the machine that made it: host, a cluster's allocation,
    and folders; of paths in the command the last part stays.
    """
    left = {name: value for name, value in start.items() if name not in ("host", "allocation") or not value}
    for name, place in (("dataset", "path"), ("start", "folder")):
        if name in left:
            left[name] = {key: value for key, value in left[name].items() if key != place}
    if "command" in left:
        left["command"] = _without_folders(left["command"])
    return left


def _without_folders(command: str) -> str:
    """A command line, of each absolute path its last part alone."""
    try:
        words = shlex.split(command)
    except ValueError:  # no command line of a shell
        words = command.split()
    if not any(FOLDERS.search(word) for word in words):
        return command
    return shlex.join(FOLDERS.sub("", word) for word in words)
