"""A trained policy on disk: arrays that acting reads, and a card that says what they are. Data alone, and no JAX here.

    <run>/policies/seed-<k>/    of every seed that did not diverge, when the run ends;
                                with --keep-policies at each evaluation too, in policies/step-<n>/seed-<k>/
        card.json               agent, every hyperparameter, task, data, seed, step, success, what made it
        parameters.safetensors  the arrays, by their names in the agent's state
        evaluations.csv         what `benchmark.evaluate --policy` played, and episodes.csv each episode of it

Both files may come from anywhere. Nothing in them is run, and sizes are compared with what the agent has before an
array is read.
"""

from __future__ import annotations

import hashlib
import math
import os
import re
import stat
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from benchmark.common.errors import UserError
from benchmark.common.files import files_below, make_folder, write_bytes, write_json
from benchmark.common.reading import (
    LIST,
    OBJECT,
    TEXT,
    WHOLE,
    Damaged,
    check_fields,
    check_range,
    optional,
    read_json,
    without_waiting,
)
from benchmark.runs.reading import MOST_STEPS

SCHEMA = 1
CARD, PARAMETERS = "card.json", "parameters.safetensors"
EXPERT = "expert.safetensors"
"""Beside a card.json that is no policy's but that of an expert which makes data (`envs.experts`)."""
FOLDER = "policies"
"""In a run's folder."""
LICENSE = "MIT, as the code that made them; what the data are published under holds besides"
MOST_HEADER = 2**22
"""Bytes that name and place a file's arrays; a thousand arrays need a tenth of a million."""
MOST_LAYERS = 1_000
"""Numbers of a hyperparameter, such as the widths of a network's layers: to trace more would take hours."""
MOST_NUMBERS = 2**33
"""Numbers of an array: more fit into no machine's memory beside others."""
TYPES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16", "BOOL": "bool"}
TYPES |= {f"{kind}{bits}": f"{name}{bits}" for kind, name in (("I", "int"), ("U", "uint")) for bits in (8, 16, 32, 64)}
"""Types of numbers, from the format's names to NumPy's."""
Shape = tuple[str, tuple[int, ...]]
"""Of an array: its type by NumPy's name, and its sizes."""


@dataclass(frozen=True)
class Card:
    """What a policy is, and what made it."""

    agent: str
    hyperparameters: dict[str, Any]
    task: str
    domain: str
    sizes: list[int]
    """Numbers of an observation, and of a single action."""
    seed: int
    seeds: list[int]
    """Those that trained together, in one program: together they act to the same bit."""
    step: int
    updates: int
    """Of its training, pretraining and online steps included."""
    evaluation: dict[str, Any] | None
    """The run's last evaluation of this seed up to the step: step, episodes, success, return, length."""
    dataset: dict[str, Any]
    """Name, fingerprint and source of what it was trained on."""
    made: dict[str, Any]
    """Time, commit, versions, device and digest of the code of the run's last start."""
    extra: dict[str, list[Any]]
    """Type and sizes of all arrays of the agent's extra state, those included that acting does not read."""
    left_out: list[str]
    """Networks and targets that acting does not read, or not whole: what the file lacks of the training state."""
    sha256: str
    """Of the file with the arrays."""
    code: dict[str, str] = field(default_factory=dict)
    """Of an agent from outside the repository: digests of its file, the first, and of those that it imports."""
    label: str = ""
    """What its run is shown under, where that is not the agent's name."""
    license: str = LICENSE
    schema: int = SCHEMA


_KINDS = {"agent": TEXT, "task": TEXT, "domain": TEXT, "sha256": TEXT, "license": TEXT, "schema": WHOLE, "seed": WHOLE}
_KINDS |= {
    "step": WHOLE,
    "updates": WHOLE,
    "hyperparameters": OBJECT,
    "dataset": OBJECT,
    "made": OBJECT,
    "extra": OBJECT,
    "code": OBJECT,
    "label": TEXT,
}
_KINDS |= {"evaluation": optional(OBJECT), "sizes": LIST, "seeds": LIST, "left_out": LIST}


def policy_folder(run: Path, seed: int, step: int | None = None) -> Path:
    """Where a run's policy of a seed lies: the one of its end, or of the evaluation of that step."""
    return run / FOLDER / ("" if step is None else f"step-{step}") / f"seed-{seed}"


def find_policies(folder: Path) -> list[Path]:
    """The folders of all policies in a folder, at whatever depth, itself included, without runs that were set aside and
    experts: in order, numbers as numbers.
    """

    def order(path: Path) -> list[Any]:
        return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", str(path))]

    found = {path.parent for path in files_below(folder, CARD)}
    return sorted((each for each in found if not (each / EXPERT).exists()), key=order)


def write_policy(folder: Path, card: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Card:
    """Write a policy; `card` lacks the digest of the arrays. They go first, so that a card is of what is there."""
    make_folder(folder)
    content = save({name: np.asarray(array, order="C") for name, array in arrays.items()})
    whole = Card(**card, sha256=hashlib.sha256(content).hexdigest())
    write_bytes(folder / PARAMETERS, content)
    write_json(folder / CARD, asdict(whole))
    return whole


def remove_policy(folder: Path) -> None:
    """Remove what `write_policy` wrote, where it is there."""
    for name in (CARD, PARAMETERS):
        (folder / name).unlink(missing_ok=True)


def read_card(folder: Path) -> Card:
    """Read a policy's card. Raises a UserError where there is none, `Damaged` for what is no card."""
    path = folder / CARD
    values = read_json(path)
    if values is None:
        raise UserError(f"{folder} holds no policy: it has no {CARD}")
    check_fields(path, values, {"schema": WHOLE})
    if values.get("schema", SCHEMA) > SCHEMA:
        raise Damaged(path, f"schema is {values['schema']}, newer than {SCHEMA}, the newest that is known here")
    known = {each.name for each in fields(Card)}
    needed = known - {"code", "label", "license"}
    if missing := [name for name in _KINDS if name in needed and name not in values]:
        raise Damaged(path, f"no field '{missing[0]}'")
    check_fields(path, values, _KINDS)
    card = Card(**{name: value for name, value in values.items() if name in known})
    if reason := _wrong_in(card):
        raise Damaged(path, reason)
    for name in ("step", "updates"):
        check_range(path, values, name, 0, MOST_STEPS)
    check_range(path, card.evaluation or {}, "step", 0, MOST_STEPS)
    return card


def _wrong_in(card: Card) -> str:
    """What a card says that cannot be, '' where there is nothing of it."""
    for name in ("agent", "task"):
        if not getattr(card, name).isprintable() or not getattr(card, name):
            return f"{name} is {getattr(card, name)!r:.40}, not a name"
    if not card.label.isprintable():
        return f"label is {card.label!r:.40}, not a name"
    if not all(type(seed) is int and 0 <= seed < 2**32 for seed in card.seeds) or card.seed not in card.seeds:
        return (
            f"seed {card.seed} and seeds {card.seeds!r:.40} are not whole numbers of 32 bits, the one among the others"
        )
    if len(card.sizes) != 2 or not all(type(size) is int and 0 < size <= 10**6 for size in card.sizes):
        return f"sizes are {card.sizes!r:.40}, not two whole numbers from 1 to 1,000,000"
    for name, value in card.hyperparameters.items():
        if isinstance(value, list) and len(value) > MOST_LAYERS:
            return f"hyperparameters: {name} has {len(value):,} numbers, at most {MOST_LAYERS:,} are allowed"
    if not all(isinstance(value, str) for value in [*card.code.values(), *card.left_out]):
        return "code or left_out holds something that is no text"
    for name, shape in card.extra.items():
        sizes = shape[1:] if isinstance(shape, list) else [-1]
        if not (
            all(type(size) is int and size >= 0 for size in sizes)
            and shape[0] in TYPES.values()
            and math.prod(sizes) <= MOST_NUMBERS
        ):
            return f"extra: {name} is {shape!r:.40}, not a type and sizes that an array can have"
    for name in ("step", "episodes"):
        if card.evaluation is not None and type(card.evaluation.get(name)) is not int:
            return f"evaluation: {name} is {card.evaluation.get(name)!r:.40}, not a whole number"
    return ""


def check_parameters(folder: Path, expected: Mapping[str, Shape]) -> None:
    """Raise `Damaged` where a policy's file of arrays is not of these names, types and sizes, to the byte. Of the file
    only what names its arrays is read.
    """
    path = folder / PARAMETERS
    found = read_shapes(path)
    for name in {**expected, **found}:
        if found.get(name) != expected.get(name):
            raise Damaged(
                path, f"{name:.80} is {_told(found.get(name))}, where the agent has {_told(expected.get(name))}"
            )


def _told(shape: Shape | None) -> str:
    return "nothing" if shape is None else f"{shape[0]} of {shape[1]}"


def read_shapes(path: Path) -> dict[str, Shape]:
    """Type and sizes of every array of a file, by name; no array is read. Raises `Damaged` for what is no such file."""
    try:
        with open(path, "rb", opener=without_waiting) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise Damaged(path, "not a file")
            header = int.from_bytes(file.read(8), "little")
        if header > MOST_HEADER:
            raise Damaged(path, f"not a safetensors file: it begins with a header of {header:,} bytes")
        with safe_open(path, framework="numpy") as arrays:  # checks that arrays fill the file, one after the other
            slices = {name: arrays.get_slice(name) for name in arrays.keys()}  # noqa: SIM118  (it is no mapping)
            return {
                name: (TYPES.get(str(each.get_dtype()), str(each.get_dtype())), tuple(each.get_shape()))
                for name, each in slices.items()
            }
    except FileNotFoundError:
        raise Damaged(path, "missing") from None
    except SafetensorError as error:
        raise Damaged(path, f"not a whole safetensors file ({error})") from error
    except OSError as error:
        raise Damaged(path, f"cannot be read: {error.strerror or error}") from error


def read_parameters(folder: Path, card: Card, expected: Mapping[str, Shape]) -> dict[str, np.ndarray]:
    """The arrays of a policy. Raises `Damaged` where they are not of these sizes, or not those of the card."""
    check_parameters(folder, expected)
    path = folder / PARAMETERS
    with path.open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != card.sha256:
            raise Damaged(path, f"not the file that {CARD} was written for: its SHA-256 is another")
    with safe_open(path, framework="numpy") as arrays:
        return {name: arrays.get_tensor(name) for name in expected}
