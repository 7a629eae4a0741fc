"""Files that are replaced whole, folders, and whether a lock is held."""

from __future__ import annotations

import fcntl
import itertools
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmark.common.errors import UserError
from benchmark.common.reading import without_waiting


def write_text(path: Path, text: str) -> None:
    """Replace a file by `text` atomically."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Replace a file atomically."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(content)
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise UserError(f"cannot write {path}: {error.strerror or error}") from error


def write_json(path: Path, value: Any) -> None:
    """Replace a JSON file atomically."""
    write_text(path, json.dumps(value, indent=1) + "\n")


def move_aside(path: Path, name: str) -> Path:
    """Rename a file or folder; to "name-2" and so on where `name` is taken. Returns its new path."""
    for number in itertools.count(1):
        other = path.with_name(name if number == 1 else f"{name}-{number}")
        if not other.exists():
            break
    try:
        return path.rename(other)
    except OSError as error:
        raise UserError(f"cannot move {path} to {other}: {error.strerror or error}") from error


def files_below(folder: Path, name: str) -> Iterator[Path]:
    """Every file of a name in a folder, at whatever depth; not those in hidden folders, where what was set aside is."""
    for path in folder.rglob(name):
        if not any(part.startswith(".") for part in path.relative_to(folder).parts):
            yield path


def is_locked(lock: Path) -> bool:
    """Whether a living process holds a lock; takes no more than a shared lock, and that for an instant."""
    try:
        with open(lock, "rb", opener=without_waiting) as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def make_folder(path: Path) -> None:
    """Create a folder for results, or say why that fails."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot write to {path}: {error.strerror or error}") from error
    if not os.access(path, os.W_OK):
        raise UserError(f"cannot write to {path}: no permission")
