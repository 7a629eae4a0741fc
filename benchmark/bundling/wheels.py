"""Wheels for another machine: which packages it needs, fetched, and without what is never imported."""

from __future__ import annotations

import base64
import hashlib
import re
import subprocess
import sys
import zipfile
from collections.abc import Collection, Iterable
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from benchmark.common.errors import UserError
from benchmark.common.machine import ROOT

KINDS = ("additions", "cpu", "cuda")
"""What a bundle is for: a machine that has `PRESENT` already, one without a GPU, one with an NVIDIA GPU."""
PRESENT = ("jax", "flax", "optax", "orbax-checkpoint", "numpy", "scipy", "pandas", "seaborn")
"""What machines for research in JAX have, with all that these need."""
NEVER_IMPORTED = ("labmaze", "dm-tree")
"""Packages that dm_control asks for, and that nothing imports of what ogbench does."""
FILMS = ("imageio-ffmpeg",)
"""The encoder of films, as large as all other additions together: only in whole bundles."""
TRIMMED = {"dm-control": ("_render", "mjcf", "mujoco", "rl", "utils")}
"""Packages of which ogbench imports these parts only; the others are models and their meshes."""
GLIBC = 28
"""Minor version of glibc 2 on the machine that a bundle is for, or newer: Linux from 2018 on."""
PLATFORMS = (
    *(f"manylinux_2_{minor}_x86_64" for minor in range(GLIBC, 4, -1)),
    *("manylinux2014_x86_64", "manylinux2010_x86_64", "manylinux1_x86_64"),
)
"""All that such a machine takes; pip, which is asked for another machine than its own, knows only what it is told."""


def packages(kind: str) -> dict[str, str]:
    """Name and version of every package that a bundle has wheels of: the pinned ones that requirements.txt leads to."""
    pinned = pins("requirements.lock") | (pins("requirements-gpu.lock") if kind == "cuda" else {})
    wanted = closure(requirements(ROOT / "requirements.txt"))
    if kind == "additions":
        wanted -= closure(PRESENT) | set(FILMS)
    if kind == "cuda":
        wanted |= pins("requirements-gpu.lock").keys()
    return {name: pinned[name] for name in sorted(wanted) if name in pinned}


def pins(lock: str) -> dict[str, str]:
    """The exact versions in a lock, by package."""
    found = re.findall(r"^([\w.-]+)==(\S+)$", (ROOT / lock).read_text(encoding="utf-8"), re.M)
    return {canonicalize_name(name): version for name, version in found}


def requirements(path: Path) -> list[str]:
    """Names of the packages in a file of requirements."""
    lines = (line.partition("#")[0].strip() for line in path.read_text(encoding="utf-8").splitlines())
    return [Requirement(line).name for line in lines if line and not line.startswith("-")]


def closure(names: Iterable[str]) -> set[str]:
    """These packages and all that they need and import, by what is installed here; a UserError where one is not."""
    found: set[str] = set()
    waiting = [canonicalize_name(name) for name in names]
    while waiting:
        if (name := waiting.pop()) in found or name in NEVER_IMPORTED:
            continue
        found.add(name)
        try:
            needs = [Requirement(text) for text in metadata.requires(name) or ()]
        except metadata.PackageNotFoundError:
            raise UserError(f"the environment of {sys.executable} lacks {name}; make install") from None
        waiting += [
            canonicalize_name(need.name) for need in needs if not need.marker or need.marker.evaluate({"extra": ""})
        ]
    return found


def fetch(wanted: dict[str, str], python: str, folder: Path) -> None:
    """Fetch a wheel of each package for that version of Python on Linux. Raises a UserError where one cannot be had."""
    target = ["--only-binary=:all:", f"--python-version={python}", "--implementation=cp"]
    target += [f"--platform={name}" for name in PLATFORMS]
    pinned = [f"{name}=={version}" for name, version in wanted.items()]
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    done = subprocess.run([*command, *target, f"--dest={folder}", *pinned], capture_output=True, text=True)
    if done.returncode:
        raise UserError(f"pip cannot fetch the wheels: {reason(done.stderr)}")


def reason(said: str) -> str:
    """Why pip failed, of all that it says: the last of its errors, not the versions that it passed over."""
    errors = [line.partition("ERROR: ")[2] for line in said.splitlines() if "ERROR: " in line]
    return errors[-1] if errors else "it does not say why"


def trim(folder: Path) -> None:
    """Leave out of wheels what is never imported."""
    for path in folder.glob("*.whl"):
        name = canonicalize_name(path.name.split("-")[0])
        if name in TRIMMED:
            keep_parts(path, TRIMMED[name])


def keep_parts(wheel: Path, parts: Collection[str]) -> None:
    """Keep of a wheel the files at the top of its package, these sub-packages, and its metadata, with a new RECORD."""
    kept: dict[str, bytes] = {}
    with zipfile.ZipFile(wheel) as old:
        for name in old.namelist():
            top, _, rest = name.partition("/")
            if top.endswith(".dist-info") or "/" not in rest or rest.partition("/")[0] in parts:
                kept[name] = old.read(name)
    (record,) = (name for name in kept if name.endswith(".dist-info/RECORD"))
    del kept[record]
    lines = [f"{name},sha256={_digest(content)},{len(content)}" for name, content in kept.items()]
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as new:
        for name, content in (kept | {record: "\n".join([*lines, f"{record},,", ""]).encode()}).items():
            new.writestr(name, content)


def _digest(content: bytes) -> str:
    """As a RECORD has it."""
    return base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
