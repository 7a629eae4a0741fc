"""What a run is: everything that it is asked to do, and where it lies."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from benchmark.common.reading import FLAG, LIST, OBJECT, TEXT, Damaged, check_fields, optional, parse_object
from benchmark.runs.protocol import Generated, Online, Protocol
from benchmark.runs.seeds import format_seeds


def run_directory(out: Path, agent: str, task: str, seeds: str) -> Path:
    """Where a run lives; `seeds` as `format_seeds` writes them."""
    return out / agent / task / f"seeds-{seeds}"


MOST_LETTERS = 200
"""Letters in the name of a run's folder; file systems allow 255."""


AUTHORS = "-authors"
"""Ends the label of a run that the authors' own code made beside one of ours (`benchmark.same_experiment`)."""


@dataclass(frozen=True)
class Start:
    """What a run starts from: networks of a finished run's first seed, which each of its own seeds is given."""

    folder: str
    """Of that run. It may lie elsewhere another time, and is no part of what is asked."""
    agent: str
    task: str
    seed: int
    updates: int
    """Before its checkpoint, pretraining and online steps included."""
    digest: str
    """SHA-256 of that seed's parameters and targets in it."""
    networks: dict[str, str]
    """The agent's networks that begin so, each with its name in that run."""

    def __str__(self) -> str:
        return f"{self.agent} on {self.task}, seed {self.seed}, update {self.updates:,}, {self.digest[:19]}"

    def gives_all(self, networks: Collection[str]) -> bool:
        """Whether the run begins with all of these, and these are some."""
        return bool(networks) and self.networks.keys() >= set(networks)

    @property
    def asked(self) -> dict[str, Any]:
        """As config.json holds it: all but where it lies."""
        return {name: value for name, value in asdict(self).items() if name != "folder"}


@dataclass(frozen=True)
class RunSpec:
    """Everything that a run is asked to do; plain values, so that it travels to another machine as JSON."""

    agent: str
    """Name of an agent, or the path of its file."""
    task: str
    seeds: tuple[int, ...]
    settings: dict[str, Any]
    """Hyperparameters that differ from the agent's defaults."""
    protocol: Protocol
    out: str
    suite: str | None = None
    data: Generated | None = None
    data_dir: str | None = None
    wandb: dict[str, str] | None = None
    """Where W&B is to get a copy of the records, see `benchmark.loop.tracking`."""
    online: Online | None = None
    """The phase after the offline one, if there is one."""
    origins: dict[str, str] = field(default_factory=dict)
    """Where each hyperparameter comes from, see `benchmark.planning.plan.choose`; {} where that was not said."""
    shown_as: str | None = None
    """What the results are stored and shown under, where that is not the agent's name."""
    name: str = ""
    """The agent's own, as the plan found it, so that no one who reads results imports its file."""
    start: Start | None = None
    """Where it starts from another run, see `benchmark.loop.starting`."""
    code: dict[str, str] = field(default_factory=dict)
    """Digests of the files of an agent of one's own, as the plan found them; {} where that was not looked at."""
    keep_checkpoints: bool = False
    """Whether the state of training is kept when the run is over, and not its policies alone."""
    keep_policies: bool = False
    """Whether the policies of every evaluation are kept."""

    @property
    def label(self) -> str:
        """The agent as tables and folders show it: the label that it was given, or its name."""
        return self.shown_as or self.agent_name

    @property
    def agent_name(self) -> str:
        """The agent's own name; that of its file where the plan did not say."""
        return self.name or (Path(self.agent).stem if self.agent.endswith(".py") else self.agent)

    @property
    def path(self) -> Path:
        """The run's directory. Imports no agent: who reads results runs nothing of what stands in them."""
        return run_directory(Path(self.out), self.label, self.task, format_seeds(self.seeds))

    @property
    def steps(self) -> int:
        """Where it ends: updates, and environment steps of an online phase after them."""
        return self.protocol.steps + (self.online.steps if self.online else 0)

    def is_done_by(self, status: Mapping[str, Any]) -> bool:
        """Whether a status.json says that all of it is done: a run that is finished, and is asked for more updates, is
        not. Whatever else differs is not looked at.
        """
        return status.get("state") == "done" and status.get("steps", self.steps) == self.steps

    def to_json(self) -> str:
        """As one line of text."""
        return json.dumps(asdict(self))

    @staticmethod
    def from_json(text: str | bytes, source: Path = Path("a run")) -> RunSpec:
        """The inverse of `to_json`. Raises `Damaged`, which names `source`, for a text that is no run."""
        content = text if isinstance(text, bytes) else text.encode(errors="replace")
        return _spec_of(parse_object(content, source), source)


_PLAIN = {"agent": TEXT, "task": TEXT, "seeds": LIST, "settings": OBJECT, "out": TEXT, "suite": optional(TEXT)}
_PLAIN |= {"data_dir": optional(TEXT), "wandb": optional(OBJECT), "name": TEXT}
_PLAIN |= {
    "origins": OBJECT,
    "code": OBJECT,
    "shown_as": optional(TEXT),
    "keep_checkpoints": FLAG,
    "keep_policies": FLAG,
}
_PARTS = {"protocol": Protocol, "data": Generated, "online": Online, "start": Start}
_START = dict.fromkeys(("folder", "agent", "task", "digest"), TEXT) | {"networks": OBJECT}


def _spec_of(values: dict[str, Any], source: Path) -> RunSpec:
    """A RunSpec from its fields, which may be anything. Raises `Damaged`."""
    check_fields(source, values, _PLAIN | dict.fromkeys(_PARTS, optional(OBJECT)))
    check_fields(source, values.get("start") or {}, _START, "start: ")
    try:
        parts = {name: kind(**values[name]) for name, kind in _PARTS.items() if values.get(name)}
        lists = {"seeds": tuple(values["seeds"]), "settings": {k: _value(v) for k, v in values["settings"].items()}}
        spec = RunSpec(**values | dict.fromkeys(_PARTS) | parts | lists)
    except (TypeError, KeyError) as error:
        raise Damaged(source, f"not a run: {error}") from error
    whole = [(part, field.name) for part in parts.values() for field in fields(part) if field.type == "int"]
    numbers = [*spec.seeds, *(getattr(part, name) for part, name in whole)]
    if "protocol" not in parts or not spec.seeds or not all(type(number) is int and number >= 0 for number in numbers):
        raise Damaged(source, "not a run: its seeds, protocol, data and online phase must be whole numbers")
    for name in (spec.label, spec.agent_name, spec.task):
        if not name.isprintable() or name.startswith(".") or Path(name).name != name:
            raise Damaged(source, f"not a run: {name!r:.40} cannot be a folder")
    return spec


def _value(value: Any) -> Any:
    """A hyperparameter, which JSON has as a list where it is several numbers."""
    return tuple(value) if isinstance(value, list) else value
