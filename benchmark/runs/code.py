"""Which code makes a run's numbers: digests of the project's own files, and of an agent's outside of it."""

from __future__ import annotations

import ast
import functools
import hashlib
from collections.abc import Mapping
from pathlib import Path

from agents.roster import file_of
from benchmark.common.machine import ROOT

LOOP = (
    *(f"benchmark/loop/{name}.py" for name in ("segments", "offline", "starting", "evaluator", "recorder", "online")),
    *(f"envs/data/{name}.py" for name in ("dataset", "samplers", "shards", "replay", "environment")),
    *(f"envs/play/{name}.py" for name in ("pool", "worker", "live")),
    *(f"envs/d4rl/{name}.py" for name in ("data", "environments", "antmaze", "adroit")),
    *("envs/toy/tasks.py", "envs/toy/world.py", "envs/tasks.py", "envs/family.py", "envs/world.py"),
)
"""Files that determine every agent's numbers: updates, batches, episodes."""


@functools.cache
def own_files(agent: str) -> dict[str, bytes]:
    """The files that define an agent outside this repository, by their paths in its folder; {} for a built-in agent.

    Read once, when the agent is imported: what is on disk later is not what this process runs.
    """
    return files_on_disk(agent)


def files_on_disk(agent: str) -> dict[str, bytes]:
    """`own_files` as they are now, which is what another process will run."""
    if not agent.endswith(".py"):
        return {}
    file = Path(agent).resolve()
    ours = [ROOT / name for name in ("agents", "analysis", "benchmark", "envs")]
    imported = [path for path in imported_files(file, file.parent) if path.is_relative_to(file.parent)]
    own = [path for path in imported if path == file or not any(map(path.is_relative_to, ours))]
    return {str(path.relative_to(file.parent)): path.read_bytes() for path in own}


def own_digests(agent: str) -> dict[str, str]:
    """SHA-256 of each of `own_files`."""
    return digests(own_files(agent))


def digests(files: Mapping[str, bytes]) -> dict[str, str]:
    """SHA-256 of each file."""
    return {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}


@functools.cache
def code_digest(agent: str) -> str:
    """SHA-256 over all files that determine an agent's numbers: `LOOP`, its own, and those of `agents/` it imports."""
    file = Path(agent).resolve()
    if not agent.endswith(".py"):
        file = ROOT / "agents" / file_of(agent).name
    found = own_digests(agent)
    folder = ROOT / "agents"
    roots = [file, *(file.parent / name for name in found)]
    for path in {path for root in roots for path in imported_files(root, ROOT) if path.is_relative_to(folder)}:
        found[str(path.relative_to(ROOT))] = hashlib.sha256(path.read_bytes()).hexdigest()
    for name in LOOP:
        found[name] = hashlib.sha256((ROOT / name).read_bytes()).hexdigest()
    return hashlib.sha256(repr(sorted(found.items())).encode()).hexdigest()


def imported_files(file: Path, folder: Path) -> list[Path]:
    """A Python file and the files in `folder` that it imports, itself or through others, at whatever place in it.

    Read from the text, so that it does not depend on what else a process has imported.
    """
    found: list[Path] = []
    pending = [file]
    while pending:
        path = pending.pop()
        if path in found:
            continue
        found.append(path)
        try:
            nodes = list(ast.walk(ast.parse(path.read_bytes())))
        except (SyntaxError, ValueError):
            continue
        for node in nodes:
            if isinstance(node, ast.Import):
                for alias in node.names:
                    pending += _files_of(folder, alias.name)
            elif isinstance(node, ast.ImportFrom):
                base = [folder, *path.parents][min(node.level, len(path.parents))]
                for alias in node.names:
                    pending += _files_of(base, ".".join(filter(None, (node.module, alias.name))))
    return found


def _files_of(base: Path, name: str) -> list[Path]:
    """The files that an import of the module "a.b.c" below a folder reads: those of its packages, and its own."""
    files = []
    place = base
    for part in name.split("."):
        place = place / part
        options = (place / "__init__.py", place.with_name(f"{part}.py"))
        files += [option for option in options if option.is_file()][:1]
    return files
