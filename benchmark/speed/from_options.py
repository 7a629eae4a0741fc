"""What `benchmark.throughput` is asked, checked before any work."""

from __future__ import annotations

import argparse
import dataclasses
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmark.common.errors import UserError, check_choice, nearest
from benchmark.common.options import (
    MOST_SECONDS,
    MOST_TRANSITIONS,
    PRECISIONS,
    folder,
    input_folder,
    names,
    output_file,
    whole_number,
)
from benchmark.planning.configure import configure, parse_settings
from benchmark.planning.memory import check_memory
from benchmark.planning.plan import settings_for
from benchmark.planning.registry import agent_class, agent_names
from benchmark.planning.suites import SUITES
from benchmark.runs.seeds import MOST_SEEDS
from benchmark.speed.authors import MODULES, checkout_of
from benchmark.speed.updates import Measurement
from envs.tasks import Domain, Task, get_domain


def measurement_from(options: argparse.Namespace) -> Measurement:
    """Check what was asked. Raises a UserError before any work."""
    domain = get_domain(options.domain)
    asked = agent_names() if options.agents == "all" else names("--agents", options.agents)
    classes = {name: agent_class(name) for name in asked}
    seeds = tuple(whole_number("--seeds", text, high=MOST_SEEDS) for text in names("--seeds", options.seeds))
    try:
        seconds = float(options.seconds)
    except ValueError:
        seconds = -1.0
    if not 0 < seconds <= MOST_SECONDS:
        bound = f" of at most {MOST_SECONDS:,}" if seconds > MOST_SECONDS else ""
        raise UserError(f"--seconds must be a positive number{bound}, not '{options.seconds}'")
    settings = size_settings(classes, domain, options.size)
    for name, cls in classes.items():
        check_memory(cls.name, configure(cls, settings[name]), max(seeds))
    for what, checked in (("--json", output_file), ("--profile", folder)):
        if value := getattr(options, what[2:]):
            checked(what, value)
    return Measurement(
        agents=settings,
        domain=domain,
        seeds=seeds,
        size=" ".join(options.size),
        precision=check_choice("precision", options.precision, PRECISIONS),
        seconds=seconds,
        transitions=whole_number("--transitions", options.transitions, 1000, MOST_TRANSITIONS),
        compare=options.compare_public_loop,
        profile=options.profile,
        authors=_checkouts([cls.name for cls in classes.values()], options.authors),
        authors_python=program(options.authors_python),
    )


def _checkouts(agents: Sequence[str], folders: Sequence[Path]) -> dict[str, Path]:
    """Where the authors' code of each agent is, of those that the folders have. Raises a UserError where none is."""
    for place in folders:
        if not (input_folder("--authors", place) / "agents").is_dir():
            raise UserError(f"--authors: {place} is not a checkout of the authors' code: it has no folder 'agents'")
    found = {agent: checkout_of(agent, folders) for agent in agents}
    if folders and not any(found.values()):
        where, known = ", ".join(map(str, folders)), ", ".join(MODULES)
        raise UserError(f"--authors: no code of {', '.join(agents)} in {where}; known are {known}")
    return {agent: folder.absolute() for agent, folder in found.items() if folder}


def program(path: Path) -> Path:
    """A Python to run, absolute. Raises a UserError where there is none."""
    found = shutil.which(path)
    if found is None:
        raise UserError(f"--authors-python: {path} is not a program that can be run")
    return Path(found).absolute()


def size_settings(classes: Mapping[str, Any], domain: Domain, words: Sequence[str]) -> dict[str, Mapping[str, Any]]:
    """Settings of each agent: the domain's tuned ones, then what the words of --size say."""
    named = {"paper": {}, "quickstart": SUITES["quickstart"].settings}
    own = parse_settings([word for word in words if "=" in word])
    layers: dict[str, Any] = {}
    for word in (word for word in words if "=" not in word):
        if word not in named:
            raise UserError(f"unknown size '{word}'{nearest(word, named)}; allowed: paper, quickstart, NAME=VALUE")
        layers |= named[word]
    fields = {name: [field.name for field in dataclasses.fields(cls.Config)] for name, cls in classes.items()}
    for setting in own:
        if not any(setting in known for known in fields.values()):
            allowed = sorted({name for known in fields.values() for name in known})
            raise UserError(f"none of these agents has a hyperparameter '{setting}'{nearest(setting, allowed)}")
    settings: dict[str, Mapping[str, Any]] = {}
    for name, cls in classes.items():
        chosen = {key: value for key, value in (layers | own).items() if key in fields[name]}
        settings[name] = settings_for(cls, Task(domain, 1), chosen)
        configure(cls, settings[name])
    return settings
