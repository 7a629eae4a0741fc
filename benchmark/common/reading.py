"""Reading JSON that may be anything: what cannot be used is `Damaged`, and says why in a line.

Nothing here writes or waits: a record may be any kind of file.
"""

from __future__ import annotations

import json
import math
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from types import NoneType
from typing import Any

from benchmark.common.errors import UserError

MOST_BYTES = 2**26
"""Of a record; the longest real one, the plan of twelve thousand runs, has an eighth."""
MOST_LEVELS = 16
"""Of lists and objects in one another."""

Kind = tuple[str, tuple[type, ...]]
TEXT: Kind = "a text", (str,)
FLAG: Kind = "true or false", (bool,)
WHOLE: Kind = "a whole number", (int,)
NUMBER: Kind = "a number", (int, float)
LIST: Kind = "a list", (list,)
OBJECT: Kind = "an object", (dict,)


def optional(kind: Kind) -> Kind:
    """Also null."""
    return f"{kind[0]} or null", (*kind[1], NoneType)


class Damaged(UserError):
    """A record that cannot be used."""

    def __init__(self, path: Path, reason: str):
        super().__init__(f"{path}: {reason}")
        self.brief = f"{path.name}: {reason}"
        """For where the folder is named already."""


def read_json(path: Path, default: Any = None) -> Any:
    """Read a file that holds a JSON object, `default` where there is none. Raises `Damaged` for all else."""
    content = read_bytes(path)
    return default if content is None else parse_object(content, path)


def read_bytes(path: Path) -> bytes | None:
    """Read a file, None where there is none. Raises `Damaged` for whatever else may stand there."""
    try:
        with open(path, "rb", opener=without_waiting) as file:
            about = os.fstat(file.fileno())
            if not stat.S_ISREG(about.st_mode):
                raise Damaged(path, "not a file")
            content = file.read(min(about.st_size, MOST_BYTES) + 1)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise Damaged(path, f"cannot be read: {getattr(error, 'strerror', None) or error}") from error
    if len(content) > MOST_BYTES:
        raise Damaged(path, f"longer than {MOST_BYTES:,} bytes")
    return content


def without_waiting(path: str, flags: int) -> int:
    """An opener for `open` that opens a pipe at once, too."""
    return os.open(path, flags | os.O_NONBLOCK)


def parse_object(content: bytes, path: Path) -> dict[str, Any]:
    """Parse a JSON object that stands in the file `path`. Raises `Damaged` for all else."""
    if not content.strip():
        raise Damaged(path, "empty")
    try:
        value = json.loads(content.decode())
    except UnicodeDecodeError as error:
        raise Damaged(path, "not UTF-8 text") from error
    except RecursionError as error:
        raise Damaged(path, f"nested deeper than {MOST_LEVELS} levels") from error
    except ValueError as error:
        raise Damaged(path, f"not JSON ({error})") from error
    if not isinstance(value, dict):
        raise Damaged(path, "not a JSON object")
    if reason := _unusable(value):
        raise Damaged(path, reason)
    return value


def _unusable(record: dict[str, Any]) -> str:
    """What no record holds, though JSON may; '' where there is nothing of it."""
    level: list[Any] = [record]
    for _ in range(MOST_LEVELS):
        if not level:
            return ""
        inner: list[Any] = []
        for value in level:
            kind = type(value)
            if kind is dict:
                inner += value
                inner += value.values()
            elif kind is list:
                inner += value
            elif kind is str and not value.isascii() and any("\ud800" <= sign <= "\udfff" for sign in value):
                return f"holds {value!r:.40}, which is no text"
            elif kind is float and not math.isfinite(value):
                return f"holds {value}, which is no number"
            elif kind is int and abs(value) >= 2**63:
                return "holds a number of more than 64 bits"
        level = inner
    return f"nested deeper than {MOST_LEVELS} levels"


def check_fields(path: Path, record: Mapping[str, Any], kinds: Mapping[str, Kind], where: str = "") -> None:
    """Raise `Damaged` where one of the record's fields has another type than these; a field may be missing."""
    for name, (what, types) in kinds.items():
        value = record.get(name, types)
        wrong = not isinstance(value, types) or (isinstance(value, bool) and bool not in types)
        if value is not types and wrong:
            raise Damaged(path, f"{where}{name} is {value!r:.40}, not {what}")


def check_range(path: Path, record: Mapping[str, Any], name: str, low: float, high: float) -> None:
    """Raise `Damaged` where a number of the record is outside [low, high]; it may be missing."""
    value = record.get(name)
    if value is not None and not low <= value <= high:
        raise Damaged(path, f"{name} is {value}, outside {low} to {high}")
