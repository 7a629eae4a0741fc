"""Films of episodes, and the record that stands beside each: FILE.mp4 has FILE.mp4.json."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmark.common.files import write_text
from benchmark.common.reading import LIST, NUMBER, OBJECT, TEXT, WHOLE, Damaged, check_fields, read_json

FOLDER = "clips"
"""In a run's folder: films of it that the report shows. Beside the runs: films of several together."""
SCHEMA = 1
KINDS = ("best", "worst", "chosen")
"""Of a clip: the run's best or worst episode, or the episodes that somebody asked for."""
BEGINNINGS = {".mp4": (4, b"ftyp"), ".gif": (0, b"GIF8")}
"""What a film's bytes hold, and where."""


@dataclass(frozen=True)
class Shown:
    """An episode of one policy."""

    seed: int
    step: int
    """Of the evaluation that it belongs to; together with seed and episode the episode's identity."""
    episode: int
    success: float
    total: float
    """Undiscounted sum of rewards."""
    length: int

    @property
    def verdict(self) -> str:
        """In a word or two."""
        return "success" if self.success >= 1 else "failure" if self.success <= 0 else f"success {self.success:.2f}"


@dataclass(frozen=True)
class Clip:
    """What a film shows."""

    path: Path
    kind: str
    task: str
    policies: tuple[str, ...]
    """Labels, from left to right."""
    episodes: tuple[tuple[Shown, ...], ...]
    """One after the other; of each, a policy's from left to right."""
    frames: int
    rate: float
    """Frames a second."""
    width: int
    height: int


def record_of(film: Path) -> Path:
    """The record beside a film."""
    return film.with_name(f"{film.name}.json")


def write_clip(clip: Clip) -> None:
    """Write the record beside the film."""
    values = asdict(clip) | {"schema": SCHEMA, "file": clip.path.name}
    del values["path"]
    write_text(record_of(clip.path), json.dumps(values, indent=1) + "\n")


_PLAIN = {"schema": WHOLE, "file": TEXT, "kind": TEXT, "task": TEXT, "policies": LIST, "episodes": LIST}
_PLAIN |= {"frames": WHOLE, "rate": NUMBER, "width": WHOLE, "height": WHOLE}
_SHOWN = {"seed": WHOLE, "step": WHOLE, "episode": WHOLE, "success": NUMBER, "total": NUMBER, "length": WHOLE}


def read_clips(folder: Path) -> tuple[list[Clip], list[str]]:
    """The clips of a folder, by name; and why others cannot be used. Links lead nowhere: nothing else is read."""
    found: list[Clip] = []
    reasons: list[str] = []
    if folder.is_symlink() or not folder.is_dir():
        return found, reasons
    for path in sorted(folder.glob("*.json")):
        try:
            found.append(_clip(path))
        except Damaged as error:
            reasons.append(str(error))
    return found, reasons


def _clip(path: Path) -> Clip:
    """Read a record. Raises `Damaged`."""
    values = read_json(path, {})
    _check(path, values, _PLAIN)
    name = Path(values["file"]).name
    if not name or name != values["file"]:
        raise Damaged(path, f"file is {values['file']!r:.40}, not the film beside it")
    film = path.with_name(name)
    if values["schema"] != SCHEMA or values["kind"] not in KINDS:
        raise Damaged(path, f"schema {values['schema']}, kind {values['kind']!r:.20}: not a clip that is known here")
    if film.suffix not in BEGINNINGS or record_of(film) != path:
        raise Damaged(path, f"file is {name!r:.40}, not the film beside it")
    if film.is_symlink() or not film.is_file():
        raise Damaged(path, f"there is no film {film.name} beside it")
    policies = values["policies"]
    if not policies or not all(isinstance(each, str) for each in policies):
        raise Damaged(path, "policies are not names")
    episodes = []
    for together in values["episodes"]:
        if not isinstance(together, list) or len(together) != len(policies):
            raise Damaged(path, "an episode is not one of every policy")
        episodes.append(tuple(_shown(path, each) for each in together))
    if not episodes:
        raise Damaged(path, "no episode")
    numbers = {name: values[name] for name in ("kind", "task", "frames", "rate", "width", "height")}
    return Clip(path=film, policies=tuple(policies), episodes=tuple(episodes), **numbers)


def _shown(path: Path, values: Any) -> Shown:
    check_fields(path, {"episode": values}, {"episode": OBJECT})
    _check(path, values, _SHOWN)
    return Shown(**{name: values[name] for name in _SHOWN})


def _check(path: Path, values: dict[str, Any], kinds: dict) -> None:
    """Raise `Damaged` where a field is missing or of another type."""
    if missing := [name for name in kinds if name not in values]:
        raise Damaged(path, f"no field '{missing[0]}'")
    check_fields(path, values, kinds)


def is_film(content: bytes, suffix: str) -> bool:
    """Whether bytes begin as a film of that kind does."""
    at, sign = BEGINNINGS[suffix]
    return content[at : at + len(sign)] == sign
