"""From names and strings to agents and configurations, with every mistake named before work starts."""

from __future__ import annotations

import builtins
import contextlib
import dataclasses
import functools
import hashlib
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import itertools
import math
import os
import signal
import sys
import threading
import types
import typing
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from agents.base import NAMES, REGISTRY, Agent, Config
from agents.roster import ROSTER, module_of
from benchmark.errors import UserError, check_choice, nearest, summary
from benchmark.options import MOST
from envs.tasks import DOMAINS

TUNED = Path(__file__).parent / "tuned"
MOST_SEEDS = 10_000
"""Seeds of a plan."""
LARGEST = 1e18
"""Largest hyperparameter: the square of a larger one is infinite in 32 bits."""


def agent_names() -> list[str]:
    """Names of the agents in this repository, in alphabetical order."""
    return sorted(ROSTER)


def agent_class(name: str) -> type[Agent]:
    """Return the agent of that name, or the one defined in the file of that path.

    Raises a UserError for a name that is unknown, a file that fails to import, or one without exactly one agent.
    """
    if not name.endswith(".py"):
        importlib.import_module(module_of(check_choice("agent", name, agent_names(), most=30)))
        return REGISTRY[name]
    path = Path(os.path.realpath(name))
    if not os.path.isfile(path):
        raise UserError(f"no agent file at {name}")
    found = _agents_in(path)
    if len(found) != 1:
        names = ", ".join(cls.__name__ for cls in found) or "none"
        raise UserError(f"{name} must define exactly one subclass of Agent with a name; found: {names}")
    return found[0]


@functools.cache
def _agents_in(path: Path) -> list[type[Agent]]:
    """Import an agent file and return the agents that it registers; it may not take a built-in agent's name."""
    before = dict(REGISTRY)
    module_name = f"{_package(path.parent)}.{path.stem.replace('.', '_')}"
    loader = _AgentLoader(module_name, str(path))
    spec = importlib.util.spec_from_file_location(module_name, path, loader=loader)
    assert spec is not None
    module = sys.modules[module_name] = importlib.util.module_from_spec(spec)
    with _interrupts() as interrupts:
        try:
            loader.exec_module(module)
        except BaseException as error:  # also sys.exit: what a file does may not end the command that reads it
            REGISTRY.clear()
            REGISTRY.update(before)  # without what the file had defined before it failed
            if interrupts:
                raise
            raise UserError(f"{path} does not import: {summary(error)}") from error
    taken = [known for known, cls in REGISTRY.items() if known in ROSTER and cls.__module__ != module_of(known)]
    for known in taken:
        REGISTRY.pop(known)
        REGISTRY.update({known: before[known]} if known in before else {})
    if taken:
        raise UserError(f"{path} takes the name of a built-in agent: {', '.join(taken)}; choose another `name`")
    return [cls for cls in REGISTRY.values() if cls.__module__ == module_name]


@contextlib.contextmanager
def _interrupts() -> Iterator[list[int]]:
    """Yield a list that has an entry once Ctrl-C was pressed: without one, a KeyboardInterrupt is the code's own."""
    pressed: list[int] = []
    handler = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(handler):
        yield pressed
        return

    def note(number: int, frame: types.FrameType | None) -> None:
        pressed.append(number)
        handler(number, frame)

    signal.signal(signal.SIGINT, note)
    try:
        yield pressed
    finally:
        signal.signal(signal.SIGINT, handler)


# What lies beside an agent's file is imported by it as if its folder were on Python's path, but under a name that the
# folder alone has: two folders may both have a my_losses.py, and neither sees the other's.

OWN_PACKAGES = ("agents", "analysis", "benchmark", "envs")
"""Packages that always mean this project's, whatever lies beside an agent's file."""


PACKAGE = "agent_files_"


def _package(folder: Path) -> str:
    """Name of the package that stands for a folder of agent files; made where it is not there yet."""
    name = PACKAGE + hashlib.sha256(os.fsencode(folder)).hexdigest()[:12]
    package = sys.modules.setdefault(name, types.ModuleType(name))
    package.__path__ = [str(folder)]
    return name


class _BesideAgents(importlib.abc.MetaPathFinder):
    """Finds what lies beside agent files, for `_AgentLoader`."""

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        """See `importlib.abc.MetaPathFinder`."""
        if not fullname.startswith(PACKAGE) or not path:
            return None
        loader = (_AgentLoader, importlib.machinery.SOURCE_SUFFIXES)
        return importlib.machinery.FileFinder(path[0], loader).find_spec(fullname)


sys.meta_path.insert(0, _BesideAgents())


class _AgentLoader(importlib.machinery.SourceFileLoader):
    """Loads an agent's file, or one beside it: its import statements look beside it first, whenever they are run."""

    def exec_module(self, module: types.ModuleType) -> None:
        """Run the file."""
        package = module.__name__.partition(".")[0]
        (folder,) = sys.modules[package].__path__

        def import_beside(name, globals=None, locals=None, fromlist=(), level=0):
            top = name.partition(".")[0]
            beside = os.path.join(folder, top)
            if (
                level
                or top in OWN_PACKAGES
                or not (os.path.isfile(f"{beside}.py") or os.path.isfile(os.path.join(beside, "__init__.py")))
            ):
                return builtins.__import__(name, globals, locals, fromlist, level)
            return builtins.__import__(name, {"__package__": package}, None, fromlist, 1)

        module.__dict__["__builtins__"] = {**vars(builtins), "__import__": import_beside}
        super().exec_module(module)


def configure(cls: type[Agent], *layers: Mapping[str, Any]) -> Config:
    """Build an agent's configuration from its defaults and layers of settings, later ones winning.

    Values may be strings (from the command line) or of the field's own type. Raises a UserError that names the field,
    what is wrong and what is allowed.
    """
    fields = {field.name: field for field in dataclasses.fields(cls.Config)}
    hints = typing.get_type_hints(cls.Config)
    values: dict[str, Any] = {}
    for layer in layers:
        for key, value in layer.items():
            if key not in fields:
                raise UserError(
                    f"agent '{cls.name}' has no hyperparameter '{key}'{nearest(key, fields)}; "
                    f"it has: {', '.join(fields)}"
                )
            values[key] = _check(f"{cls.name}: {key}", _convert(f"{cls.name}: {key}", value, hints[key]), fields[key])
    config = cls.Config(**values)
    check_memory(cls.name, config)
    return config


def check_memory(agent: str, config: Config, members: int = 1) -> None:
    """Raise a UserError where `members` that train together cannot fit into this machine's memory: the critics' weights
    between hidden layers with Adam's averages, in bytes, and what one hidden layer makes of a batch, are the least.
    """
    inputs = (config.chunk_length, *config.hidden)
    weights = sum(width * after for width, after in itertools.pairwise(inputs))
    values = config.batch_size * max(inputs)
    least = members * config.ensemble * 4 * (3 * weights + values)
    if least > machine_memory():
        raise UserError(
            f"{agent}: hidden {','.join(map(str, config.hidden))}, ensemble {config.ensemble}, batch_size "
            f"{config.batch_size} and chunk_length {config.chunk_length} need at least {least / 1e9:,.0f} GB"
            + (f" for {members:,} that train together" if members > 1 else "")
            + f"; this machine has {machine_memory() / 1e9:,.0f} GB"
        )


@functools.cache
def machine_memory() -> int:
    """Bytes of main memory."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def parse_settings(items: Iterable[str]) -> dict[str, str]:
    """Parse ["alpha=10", "expectile=0.9"] into a dictionary."""
    settings = {}
    for item in items:
        key, sign, value = item.partition("=")
        if not sign or not key or not value:
            raise UserError(f"'{item}' is not a setting; write name=value, e.g. alpha=10")
        settings[key.strip()] = value.strip()
    return settings


def settings_of(agent: str, settings: Mapping[str, Any], agents: Iterable[str]) -> dict[str, Any]:
    """The settings that are for an agent: those of all, and those named for it alone ("rql:alpha"), which win.

    Raises a UserError for a setting of an agent that is not among `agents`.
    """
    common, own = {}, {}
    for key, value in settings.items():
        named, colon, name = key.rpartition(":")
        if not colon:
            common[name] = value
        elif check_choice(f"agent in --set {key}={value}:", named, agents) == agent:
            own[name] = value
    return common | own


def check_label(label: str, agents: Sequence[str]) -> str:
    """Return a person's own name for the results of one agent, else raise a UserError that says what is wrong."""
    if len(agents) != 1:
        raise UserError(f"--label names the results of one agent; {len(agents)} are chosen: {', '.join(agents)}")
    if not NAMES.fullmatch(label):
        raise UserError(f"--label must be of letters, digits, _ and -, at most 100, not {label!r}")
    if label in {*agent_names(), *REGISTRY} - {*agents}:
        raise UserError(f"--label {label} is another agent's name; choose one that is not, e.g. {agents[0]}_2")
    return label


def describe(config: Config) -> dict[str, Any]:
    """A configuration as plain values for JSON: every hyperparameter."""
    return {
        field.name: list(value) if isinstance(value := getattr(config, field.name), tuple) else value
        for field in dataclasses.fields(config)
    }


def tuned(agent: str, domain: str) -> dict[str, Any]:
    """The tuned hyperparameters of an agent on a domain, {} where none are known.

    They stand in benchmark/tuned/; those of an agent in a file of its own beside it, e.g. my_agent.yaml. A domain that
    has none takes those of the domain that `Domain.tuned_as` names.
    """
    return tuned_with_origin(agent, domain)[0]


def tuned_with_origin(agent: str, domain: str) -> tuple[dict[str, Any], str]:
    """`tuned` and where that comes from, "" where there is none.

    "published: <source>"; "derived: <source>" where it is taken over from what is published, but not for this agent on
    these tasks; "ours: <source>".
    """
    path = TUNED / f"{agent}.yaml"
    cls = REGISTRY.get(agent)
    if cls is not None and not cls.__module__.startswith("agents."):
        file = sys.modules[cls.__module__].__file__
        assert file is not None
        path = Path(file).with_suffix(".yaml")
    base = DOMAINS[domain].tuned_as if domain in DOMAINS else ""
    for name in filter(None, (domain, base)):
        for content in (_tuned_file(path), _tuned_file(TUNED / "d4rl" / path.name)):
            if name in content["domains"]:
                return dict(content["domains"][name]), _origin(content, name if name != domain else "")
    return {}, ""


def _origin(content: Mapping[str, Any], base: str) -> str:
    """Where the values of a tuned file come from; `base` is the domain that they are borrowed from, if they are.

    Its `variants` is the source that has the same values on the domains which borrow them.
    """
    source = content.get("source", "no source is given")
    if not content.get("published"):
        return f"{'derived' if content.get('derived') else 'ours'}: {source}"
    if not base:
        return f"published: {source}"
    return f"published: {content['variants']}" if "variants" in content else f"derived: {source}, for {base}"


@functools.cache
def _tuned_file(path: Path) -> dict[str, Any]:
    return yaml.safe_load(path.read_text()) if path.is_file() else {"domains": {}}


def parse_seeds(text: str) -> tuple[int, ...]:
    """Parse "0-3,7" into (0, 1, 2, 3, 7)."""
    try:
        bounds = [(int(first), int(last if dash else first)) for first, dash, last in _parts(text)]
    except ValueError:
        raise UserError(f"seeds '{text}' do not parse; write e.g. 0-3 or 0,2,5-7") from None
    if not all(0 <= first <= last < 2**32 for first, last in bounds):
        raise UserError(f"seeds '{text}' must be numbers from 0 to {2**32 - 1}, ranges rising")
    count = sum(last - first + 1 for first, last in bounds)
    if count > MOST_SEEDS:
        raise UserError(f"seeds '{text}' are {count:,} seeds; at most {MOST_SEEDS:,} are allowed")
    seeds = tuple(itertools.chain.from_iterable(range(first, last + 1) for first, last in bounds))
    if len(set(seeds)) != len(seeds):
        raise UserError(f"seeds '{text}' name a seed twice; they must be different")
    return seeds


def _parts(text: str) -> list[tuple[str, str, str]]:
    return [part.partition("-") for part in text.split(",")]


BOOLEANS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


def _convert(what: str, value: Any, kind: Any) -> Any:
    """Turn a value into a field's type, or say what type is wanted."""
    wanted = {float: "a number", int: "a whole number", bool: "true or false", str: "a word"}.get(
        kind, "whole numbers separated by commas, e.g. 512,512"
    )
    try:
        if kind is float and not isinstance(value, bool):
            number = float(value)
            if math.isfinite(number):
                return number
        elif kind is int and not isinstance(value, bool) and float(value) == int(float(value)):
            return int(float(value))
        elif kind is bool:
            return value if isinstance(value, bool) else BOOLEANS[str(value).lower()]
        elif kind is str and isinstance(value, str):
            return value
        elif typing.get_origin(kind) is tuple:
            parts = value.strip("()[] ").rstrip(",").split(",") if isinstance(value, str) else value
            return tuple(int(part) for part in parts)
    except (ValueError, TypeError, KeyError, OverflowError):
        pass
    raise UserError(f"{what} must be {wanted}, not '{value}'")


def _check(what: str, value: Any, field: dataclasses.Field) -> Any:
    """Check a value against the bounds or choices of its field."""
    low, high = field.metadata.get("low"), field.metadata.get("high")
    choices = field.metadata.get("choices")
    most = LARGEST if isinstance(value, float) else MOST
    if choices and value not in choices:
        raise UserError(f"{what} must be one of {', '.join(map(str, choices))}, not '{value}'{nearest(value, choices)}")
    for part in value if isinstance(value, tuple) else (value,):
        if isinstance(part, int | float) and abs(part) > most:
            raise UserError(f"{what} must be at most {most:,.0f}, not {part:g}")
        if (low is not None and part < low) or (high is not None and part > high):
            allowed = (
                f"at least {low}" if high is None else f"at most {high}" if low is None else f"from {low} to {high}"
            )
            raise UserError(f"{what} must be {allowed}, not {value}")
    return value
