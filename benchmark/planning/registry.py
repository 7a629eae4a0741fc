"""Agents by name, or by the file that defines them: what lies beside it is found, and nothing that it does ends us."""

from __future__ import annotations

import builtins
import contextlib
import functools
import hashlib
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import os
import signal
import sys
import threading
import types
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from agents.base import NAMES, REGISTRY, Agent
from agents.roster import ROSTER, module_of
from benchmark.common.errors import UserError, check_choice, summary


def agent_names() -> list[str]:
    """Names of the agents in this repository, in alphabetical order."""
    return sorted(ROSTER)


def agent_class(name: str) -> type[Agent]:
    """Return the agent of that name, or the one defined in the file of that path.

    Raises a UserError for a name that is unknown, a file that fails to import, or one without exactly one agent.
    """
    if not name.endswith(".py"):
        module = importlib.import_module(module_of(check_choice("agent", name, agent_names(), most=30)))
        # Read from its module: a file that imported it and then failed has left the registry as it was before.
        REGISTRY[name] = next(cls for cls in vars(module).values() if getattr(cls, "__dict__", {}).get("name") == name)
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


def check_label(label: str, agents: Sequence[str]) -> str:
    """Return a person's own name for the results of one agent, else raise a UserError that says what is wrong."""
    if len(agents) != 1:
        raise UserError(f"--label names the results of one agent; {len(agents)} are chosen: {', '.join(agents)}")
    if not NAMES.fullmatch(label):
        raise UserError(f"--label must be of letters, digits, _ and -, at most 100, not {label!r}")
    if label in {*agent_names(), *REGISTRY} - {*agents}:
        raise UserError(f"--label {label} is another agent's name; choose one that is not, e.g. {agents[0]}_2")
    return label
