"""From names and strings to agents and configurations, with every mistake named before work starts."""

from __future__ import annotations

import dataclasses
import math
import sys
import typing
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from agents.base import Agent, Config
from benchmark.common.errors import UserError, check_choice, nearest
from benchmark.common.options import MOST
from benchmark.planning.memory import check_memory
from benchmark.planning.registry import _BesideAgents

LARGEST = 1e18
"""Largest hyperparameter: the square of a larger one is infinite in 32 bits."""


sys.meta_path.insert(0, _BesideAgents())


def configure(cls: type[Agent], *layers: Mapping[str, Any]) -> Config:
    """Build an agent's configuration from its defaults and layers of settings, later ones winning.

    Raises a UserError as `typed`, and where what is asked does not fit into this machine's memory.
    """
    values: dict[str, Any] = {}
    for layer in layers:
        values |= typed(cls, layer)
    config = cls.Config(**values)
    check_memory(cls.name, config)
    return config


def typed(cls: type[Agent], settings: Mapping[str, Any]) -> dict[str, Any]:
    """An agent's settings, which may be strings (from the command line), in the types of its fields.

    Raises a UserError that names the field, what is wrong and what is allowed.
    """
    fields = {field.name: field for field in dataclasses.fields(cls.Config)}
    hints = typing.get_type_hints(cls.Config)
    values: dict[str, Any] = {}
    for key, value in settings.items():
        if key not in fields:
            raise UserError(
                f"agent '{cls.name}' has no hyperparameter '{key}'{nearest(key, fields)}; it has: {', '.join(fields)}"
            )
        what = f"{cls.name}: {key}"
        values[key] = _check(what, _convert(what, value, hints[key]), fields[key])
    return values


def switches(cls: type[Agent]) -> dict[str, str]:
    """The switches of an agent's parts, each with the number above 0 of which the part is there (`option`)."""
    fields = dataclasses.fields(cls.Config)
    return {field.name: field.metadata["follows"] for field in fields if field.metadata.get("follows")}


def following(cls: type[Agent], settings: Mapping[str, Any], own: Collection[str]) -> dict[str, bool]:
    """The switches that are to be otherwise than an agent's settings have them, so that each follows its number.

    Those among `own`, what whoever asks for the run has set, stay. Raises a UserError where such a switch is on at 0,
    or off while the number is set too.
    """
    turned = {}
    for switch, number in switches(cls).items():
        config = cls.Config(**typed(cls, {name: settings[name] for name in (switch, number) if name in settings}))
        on, amount = getattr(config, switch), getattr(config, number)
        if on == (amount > 0) or (switch in own and not on and number not in own):
            continue
        if switch in own:
            raise UserError(
                f"{cls.name}: {switch}={str(on).lower()} and {number}={amount:g} contradict each other: that part is "
                f"there exactly where {number} is above 0; set {number} alone"
            )
        turned[switch] = not on
    return turned


def parse_settings(items: Iterable[str]) -> dict[str, str]:
    """Parse ["alpha=10", "expectile=0.9"] into a dictionary."""
    settings: dict[str, str] = {}
    for item in items:
        key, sign, value = item.partition("=")
        if not sign or not key or not value:
            raise UserError(f"'{item}' is not a setting; write name=value, e.g. alpha=10")
        if key.strip() in settings:
            raise UserError(f"'{key.strip()}' is set twice, to {settings[key.strip()]} and to {value.strip()}")
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


def describe(config: Config) -> dict[str, Any]:
    """A configuration as plain values for JSON: every hyperparameter."""
    return {
        field.name: list(value) if isinstance(value := getattr(config, field.name), tuple) else value
        for field in dataclasses.fields(config)
    }


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
