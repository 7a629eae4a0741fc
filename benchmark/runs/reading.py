"""A run's JSON records, every field of the type that it should have; what cannot be used is `Damaged`.

Nothing here writes, imports an agent, or waits.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmark.common.reading import (
    FLAG,
    LIST,
    NUMBER,
    OBJECT,
    TEXT,
    WHOLE,
    Damaged,
    check_fields,
    check_range,
    optional,
    read_json,
)

MOST_STEPS = 10**12
MOST_EVALUATIONS = 10**6
"""Of a seed: more than that is no protocol, and would fill the memory of whoever lists them."""
RECORDED_STATES = ("running", "done", "failed", "interrupted")


CONFIG = {"schema": WHOLE, "agent": TEXT, "task": TEXT, "domain": TEXT, "suite": optional(TEXT), "seeds": LIST}
CONFIG |= {"hyperparameters": OBJECT, "protocol": OBJECT, "label": TEXT, "code": OBJECT, "start": OBJECT}
CONFIG["extended"] = LIST
PROTOCOL = {"steps", "eval_every", "eval_episodes", "log_every", "checkpoint_every", "online_steps", "online_start"}
START = {name: TEXT for name in ("time", "command", "python", "device", "host")}
START |= {"commit": optional(TEXT), "clean": optional(FLAG), "versions": OBJECT, "dataset": OBJECT}
START |= {"code": TEXT, "hyperparameters": OBJECT, "start": OBJECT}
DATASET = {name: optional(TEXT) for name in ("name", "fingerprint", "source", "environment")}
DATASET |= {"transitions": optional(WHOLE), "reference_scores": optional(LIST)}
STATUS = {"state": TEXT, "step": WHOLE, "steps": WHOLE, "diverged": OBJECT, "error": optional(TEXT), "updated": TEXT}
STATUS["data"] = TEXT
STATUS["code"] = LIST
STATUS |= {name: NUMBER for name in ("updates_per_second", "train_seconds", "eval_seconds")}


@dataclass(frozen=True)
class Records:
    """A run's JSON records, every field of the type that it should have."""

    config: dict[str, Any] | None
    """None where there is no config.json."""
    starts: list[dict[str, Any]]
    status: dict[str, Any]


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
