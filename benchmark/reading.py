"""Reading a run's JSON records, whatever happened to them: what cannot be used is `Damaged`, and says why in a line.

Nothing here writes, imports an agent, or waits: a record may be any kind of file.
"""

from __future__ import annotations

import json
import math
import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import NoneType
from typing import Any

from benchmark.errors import UserError

MOST_BYTES = 2**26
"""Of a record; the longest real one, the plan of twelve thousand runs, has an eighth."""
MOST_LEVELS = 16
"""Of lists and objects in one another."""
MOST_STEPS = 10**12
MOST_EVALUATIONS = 10**6
"""Of a seed: more than that is no protocol, and would fill the memory of whoever lists them."""
RECORDED_STATES = ("running", "done", "failed", "interrupted")

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


CONFIG = {"schema": WHOLE, "agent": TEXT, "task": TEXT, "domain": TEXT, "suite": optional(TEXT), "seeds": LIST}
CONFIG |= {"hyperparameters": OBJECT, "protocol": OBJECT, "label": TEXT, "code": OBJECT}
PROTOCOL = {"steps", "eval_every", "eval_episodes", "log_every", "checkpoint_every", "online_steps", "online_start"}
START = {name: TEXT for name in ("time", "command", "python", "device", "host")}
START |= {"commit": optional(TEXT), "clean": optional(FLAG), "versions": OBJECT, "dataset": OBJECT}
START |= {"code": TEXT, "hyperparameters": OBJECT}
DATASET = {name: optional(TEXT) for name in ("name", "fingerprint", "source", "environment")}
DATASET |= {"transitions": optional(WHOLE), "reference_scores": optional(LIST)}
STATUS = {"state": TEXT, "step": WHOLE, "steps": WHOLE, "diverged": OBJECT, "error": optional(TEXT), "updated": TEXT}
STATUS["code"] = LIST
STATUS |= {name: NUMBER for name in ("updates_per_second", "train_seconds", "eval_seconds")}


class Damaged(UserError):
    """A record that cannot be used."""

    def __init__(self, path: Path, reason: str):
        super().__init__(f"{path}: {reason}")
        self.brief = f"{path.name}: {reason}"
        """For where the folder is named already."""


@dataclass(frozen=True)
class Records:
    """A run's JSON records, every field of the type that it should have."""

    config: dict[str, Any] | None
    """None where there is no config.json."""
    starts: list[dict[str, Any]]
    status: dict[str, Any]


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


def read_records(run: Path) -> Records:
    """Read what a run's folder says of it, {} and [] where it says nothing. Raises `Damaged`."""
    records = Records(read_config(run / "config.json"), read_starts(run / "provenance.json"), read_status(run))
    state = records.status.get("state", "failed")
    if records.config is None and state != "failed":  # a run may fail before it has a record, and in no other way end
        raise Damaged(run / "config.json", f"missing, though the run is {state}")
    protocol = (records.config or {}).get("protocol", {})
    step = records.status.get("step", 0)
    if step > records.status.get("steps", step):
        raise Damaged(run / "status.json", f"step is {step}, beyond the {records.status['steps']} of the run")
    steps = max(records.status.get("steps", 0), protocol.get("steps", 0))
    if steps > MOST_EVALUATIONS * (protocol.get("eval_every") or MOST_STEPS):
        raise Damaged(run / "config.json", f"eval_every is {protocol['eval_every']}, too often in {steps} steps")
    return records


def read_config(path: Path) -> dict[str, Any] | None:
    """What was asked of a run, None where there is no file. Raises `Damaged`."""
    config = read_json(path)
    if config is None:
        return None
    for name in ("agent", "task", "seeds", "hyperparameters", "protocol"):
        if name not in config:
            raise Damaged(path, f"no field '{name}'")
    check_fields(path, config, CONFIG)
    for name in ("agent", "task"):
        if not config[name] or not config[name].isprintable():
            raise Damaged(path, f"{name} is {config[name]!r:.40}, not a name")
    seeds = config["seeds"]
    if not seeds or not all(type(seed) is int and 0 <= seed < 2**32 for seed in seeds):
        raise Damaged(path, f"seeds are {seeds!r:.40}, not whole numbers of 32 bits")
    check_fields(path, config["protocol"], dict.fromkeys(PROTOCOL, WHOLE), "protocol: ")
    for name in sorted(PROTOCOL):
        check_range(path, config["protocol"], name, 0, MOST_STEPS)
    return config


def read_starts(path: Path) -> list[dict[str, Any]]:
    """What made a run, an entry for every start, [] where there is no file. Raises `Damaged`."""
    record = read_json(path, {"starts": []})
    starts = record.get("starts")
    if not isinstance(starts, list) or not all(isinstance(start, dict) for start in starts):
        raise Damaged(path, "no list of starts")
    for start in starts:
        check_fields(path, start, START)
        check_fields(path, start.get("versions", {}), dict.fromkeys(start.get("versions", {}), TEXT), "version of ")
        dataset = start.get("dataset", {})
        check_fields(path, dataset, DATASET, "dataset: ")
        scores = dataset.get("reference_scores")
        if scores is not None and not (len(scores) == 2 and all(type(score) in (int, float) for score in scores)):
            raise Damaged(path, f"dataset: reference_scores are {scores!r:.40}, not two numbers")
    return starts


def read_status(run: Path) -> dict[str, Any]:
    """A run's status.json, {} where there is none. Raises `Damaged`."""
    path = run / "status.json"
    status = read_json(path, {})
    check_fields(path, status, STATUS)
    if status.get("state", "done") not in RECORDED_STATES:
        raise Damaged(path, f"state is {status['state']!r:.40}, not one of {', '.join(RECORDED_STATES)}")
    check_range(path, status, "step", -MOST_STEPS, MOST_STEPS)
    check_range(path, status, "steps", 0, MOST_STEPS)
    for name in ("updates_per_second", "train_seconds", "eval_seconds"):
        check_range(path, status, name, 0, MOST_STEPS)
    for seed, step in status.get("diverged", {}).items():
        if not (re.fullmatch("[0-9]{1,10}", seed) and type(step) is int and abs(step) <= MOST_STEPS):
            raise Damaged(path, f"diverged is {status['diverged']!r:.40}, not steps of seeds")
    return status
