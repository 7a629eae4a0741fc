"""Tuned hyperparameters and where they come from."""

from __future__ import annotations

import functools
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from agents.base import REGISTRY, Agent
from benchmark.common.errors import UserError
from envs.tasks import DOMAINS

TUNED = Path(__file__).parent / "tuned"


def tuned(agent: str, domain: str) -> dict[str, Any]:
    """The tuned hyperparameters of an agent on a domain, {} where none are known.

    They stand in benchmark/planning/tuned/; those of an agent in a file of its own beside it, e.g. my_agent.yaml.
    A domain that has none takes those of the domain that `Domain.tuned_as` names.
    """
    return tuned_with_origin(agent, domain)[0]


def tuned_with_origin(agent: str, domain: str) -> tuple[dict[str, Any], str]:
    """`tuned` and where that comes from, "" where there is none.

    "published: <source>"; "derived: <source>" where it is taken over from what is published, but not for this agent on
    these tasks; "ours: <source>".
    """
    path = _path(agent)
    files = [path, *([TUNED / "d4rl" / path.name] if path.parent == TUNED else [])]
    base = DOMAINS[domain].tuned_as if domain in DOMAINS else ""
    for name in filter(None, (domain, base)):
        for content in map(_tuned_file, files):
            if name in content["domains"]:
                return dict(content["domains"][name]), _origin(content, name, borrowed=name != domain)
    return {}, ""


def suite_settings(cls: type[Agent], suite: str) -> dict[str, Any]:
    """What an agent is given in a suite of its own scale, e.g. the toy's, in place of what is tuned for its domains: of
    `suites` in its tuned file, else of its class's `suite_settings`; {} where it says nothing.
    """
    found = _tuned_file(_path(cls.name)).get("suites", {}).get(suite)
    return dict(found["settings"] if found else cls.suite_settings.get(suite, {}))


def _path(agent: str) -> Path:
    """Where an agent's tuned file is, if it has one."""
    cls = REGISTRY.get(agent)
    if cls is None or cls.__module__.startswith("agents."):
        return TUNED / f"{agent}.yaml"
    file = sys.modules[cls.__module__].__file__
    assert file is not None
    return Path(file).with_suffix(".yaml")


def _origin(content: Mapping[str, Any], domain: str, borrowed: bool) -> str:
    """Where a tuned file's values for a domain, perhaps borrowed by another, come from.

    Its `derived` is true, or lists those domains whose values are derived where the others' are published; `variants`
    is the source that has the same values on the domains which borrow them.
    """
    source, derived = content.get("source", "no source is given"), content.get("derived")
    if isinstance(derived, list) and domain in derived:
        return f"derived: {source}"
    if not content.get("published"):
        return f"{'derived' if derived else 'ours'}: {source}"
    if not borrowed:
        return f"published: {source}"
    return f"published: {content['variants']}" if "variants" in content else f"derived: {source}, for {domain}"


@functools.cache
def _tuned_file(path: Path) -> dict[str, Any]:
    return read_tuned(path)


def read_tuned(path: Path) -> dict[str, Any]:
    """A file of tuned hyperparameters as a mapping, with `domains` {domain: {hyperparameter: value}}, {} where there is
    no file. Raises a UserError that names it where it has another form.
    """
    try:
        content = yaml.safe_load(path.read_text()) if path.is_file() else None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"{path}: no tuned hyperparameters ({' '.join(str(error).split())})") from error
    content = {} if content is None else content
    if not isinstance(content, dict):
        raise UserError(f"{path}: no tuned hyperparameters, which stand in 'domains: {{scene-play: {{alpha: 1}}}}'")
    for part in ("domains", "suites"):
        for name, values in _mapping(path, content.get(part, {}), part).items():
            _mapping(path, values, f"{part}: {name}")
            if part == "suites":
                _mapping(path, values.get("settings"), f"{part}: {name}: settings")
    return {"domains": {}, **content}


def _mapping(path: Path, value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict) or not all(isinstance(name, str) for name in value):
        raise UserError(f"{path}: '{where}' must be a mapping with names, not {value!r:.40}")
    return value
