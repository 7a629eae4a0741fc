"""What made a number: commit, versions, device, command, and the code itself by its digest.

Two digests tell whether code changed. An agent from a file of its own is defined by that file and by those of its
folder that it imports: their digests are part of what is asked of a run, and copies stand in the run's folder. The
code of this repository that determines a run's numbers, `LOOP` and what the agent imports of `agents/`, has one digest
in the record of each start: commits that do not touch these files leave it as it is.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.metadata
import os
import platform
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

from agents.roster import file_of
from benchmark.records import now

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy", "ogbench", "mujoco", "gymnasium", "dm-control", "d4rl")
COMMAND = "RQL_COMMAND"
"""The environment variable by which a launcher hands its command down."""

LOOP = (
    *("benchmark/training.py", "benchmark/online.py", "envs/dataset.py", "envs/shards.py", "envs/replay.py"),
    *("envs/evaluation.py", "envs/evaluation_worker.py", "envs/live.py", "envs/toy.py", "envs/tasks.py"),
    *("envs/world.py", "envs/d4rl.py", "envs/d4rl_antmaze.py", "envs/d4rl_adroit.py"),
)
"""Files that determine every agent's numbers: updates, batches, episodes."""

ALLOCATION = ("CUDA_VISIBLE_DEVICES", "SLURM_JOB_ID", "SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID", "SLURMD_NODENAME")


def collect(dataset: dict[str, Any], agent: str | None = None) -> dict[str, Any]:
    """Return the record of one start of a run of an agent (a name or a file's path, None where only speed counts);
    `dataset` says which data it trains on.
    """
    import jax

    device = jax.devices()[0]
    name = processor() if device.platform == "cpu" else device.device_kind
    return {**where(agent), "device": f"{device.platform}: {name}", "dataset": dataset}


def where(agent: str | None = None) -> dict[str, Any]:
    """The part of the record that needs no device: when, how, by which code and where."""
    commit, clean = git_state()
    return {
        "time": now(),
        "command": command_line(),
        "commit": commit,
        "clean": clean,
        **({"code": code_digest(agent)} if agent else {}),
        "python": platform.python_version(),
        "versions": versions(),
        "host": platform.node(),
        "allocation": {name: os.environ[name] for name in ALLOCATION if name in os.environ},
    }


@functools.cache
def own_files(agent: str) -> dict[str, bytes]:
    """The files that define an agent outside this repository, by their paths in its folder; {} for a built-in agent.

    Read once, when the agent is imported: what is on disk later is not what this process runs.
    """
    if not agent.endswith(".py"):
        return {}
    file = Path(agent).resolve()
    ours = [ROOT / name for name in ("agents", "analysis", "benchmark", "envs")]
    imported = [path for path in imported_files(file, file.parent) if path.is_relative_to(file.parent)]
    own = [path for path in imported if path == file or not any(map(path.is_relative_to, ours))]
    return {str(path.relative_to(file.parent)): path.read_bytes() for path in own}


def own_digests(agent: str) -> dict[str, str]:
    """SHA-256 of each of `own_files`."""
    return {name: hashlib.sha256(content).hexdigest() for name, content in own_files(agent).items()}


@functools.cache
def code_digest(agent: str) -> str:
    """SHA-256 over all files that determine an agent's numbers: `LOOP`, its own, and those of `agents/` it imports."""
    file = Path(agent).resolve()
    if not agent.endswith(".py"):
        file = file_of(agent)
    digests = own_digests(agent)
    folder = ROOT / "agents"
    roots = [file, *(file.parent / name for name in digests)]
    for path in {path for root in roots for path in imported_files(root, ROOT) if path.is_relative_to(folder)}:
        digests[str(path.relative_to(ROOT))] = hashlib.sha256(path.read_bytes()).hexdigest()
    for name in LOOP:
        digests[name] = hashlib.sha256((ROOT / name).read_bytes()).hexdigest()
    return hashlib.sha256(repr(sorted(digests.items())).encode()).hexdigest()


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


def command_line() -> str:
    """The command that a person gave: a launcher hands its own down to the processes that do its runs."""
    if handed_down := os.environ.get(COMMAND):
        return handed_down
    return shlex.join([Path(sys.executable).name, *sys.orig_argv[1:]])


def versions() -> dict[str, str]:
    """Versions of the packages that can change a number."""
    found = {}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


@functools.cache
def git_state() -> tuple[str | None, bool | None]:
    """(commit, whether the tree has no uncommitted change), (None, None) outside a repository.

    Changes under `results/` do not count: rates measured there, which a plan reads, do not enter a run's numbers.
    """
    try:
        commit = _git("rev-parse", "HEAD").strip()
        return commit, not _git("status", "--porcelain", "--untracked-files=no", "--", ".", ":!results").strip()
    except (OSError, subprocess.CalledProcessError):
        return None, None


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=ROOT, check=True, capture_output=True, text=True).stdout


@functools.cache
def processor() -> str:
    """The processor's name and the number of cores this process may use."""
    name = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    return f"{name}, {usable_cores()} cores"


def usable_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
