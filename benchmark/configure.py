"""From names and strings to agents and configurations, with every mistake named before work starts."""

from __future__ import annotations

import dataclasses
import functools
import importlib
import importlib.util
import math
import pkgutil
import re
import sys
import typing
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

import agents
from agents.base import REGISTRY, Agent, Config
from benchmark.errors import UserError, check_choice, nearest
from envs.tasks import DOMAINS

TUNED = Path(__file__).parent / "tuned"


def agent_names() -> list[str]:
    """Names of the agents in this repository, in alphabetical order."""
    _import_all()
    return sorted(name for name, cls in REGISTRY.items() if cls.__module__.startswith("agents."))


@functools.cache
def _import_all() -> None:
    for module in pkgutil.iter_modules(agents.__path__):
        importlib.import_module(f"agents.{module.name}")


def agent_class(name: str) -> type[Agent]:
    """Return the agent of that name, or the one defined in the file of that path.

    Raises a UserError for a name that is unknown, a file that fails to import, or one without exactly one agent.
    """
    if not name.endswith(".py"):
        return REGISTRY[check_choice("agent", name, agent_names(), most=30)]
    path = Path(name).resolve()
    if not path.is_file():
        raise UserError(f"no agent file at {name}")
    module_name = f"agent_file_{path.stem}"
    found = [cls for cls in REGISTRY.values() if cls.__module__ == module_name]
    if not found:
        found = _import_agents(path, module_name)
    if len(found) != 1:
        names = ", ".join(cls.__name__ for cls in found) or "none"
        raise UserError(f"{name} must define exactly one subclass of Agent with a name; found: {names}")
    return found[0]


def _import_agents(path: Path, module_name: str) -> list[type[Agent]]:
    """Import an agent file and return the agents that it registers; it may not take a built-in agent's name."""
    built_in = {known: REGISTRY[known] for known in agent_names()}
    spec = importlib.util.spec_from_file_location(module_name, path)
    assert spec is not None and spec.loader is not None
    module = sys.modules[module_name] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        for name in [name for name, cls in REGISTRY.items() if cls.__module__ == module_name]:
            del REGISTRY[name]  # what the file had defined before it failed
        REGISTRY.update(built_in)
        raise UserError(f"{path} does not import: {type(error).__name__}: {error}") from error
    taken = [known for known, cls in built_in.items() if REGISTRY[known] is not cls]
    REGISTRY.update(built_in)
    if taken:
        raise UserError(f"{path} takes the name of a built-in agent: {', '.join(taken)}; choose another `name`")
    return [cls for cls in REGISTRY.values() if cls.__module__ == module_name]


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
    return cls.Config(**values)


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
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,100}", label):
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
    seeds: list[int] = []
    try:
        for part in text.split(","):
            first, dash, last = part.partition("-")
            seeds += range(int(first), int(last if dash else first) + 1)
    except ValueError:
        raise UserError(f"seeds '{text}' do not parse; write e.g. 0-3 or 0,2,5-7") from None
    if not seeds or len(set(seeds)) != len(seeds) or not all(0 <= seed < 2**32 for seed in seeds):
        raise UserError(f"seeds '{text}' must be different numbers from 0 to {2**32 - 1}, ranges rising")
    return tuple(seeds)


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
    if choices and value not in choices:
        raise UserError(f"{what} must be one of {', '.join(map(str, choices))}, not '{value}'{nearest(value, choices)}")
    for part in value if isinstance(value, tuple) else (value,):
        if (low is not None and part < low) or (high is not None and part > high):
            allowed = (
                f"at least {low}" if high is None else f"at most {high}" if low is None else f"from {low} to {high}"
            )
            raise UserError(f"{what} must be {allowed}, not {value}")
    return value
