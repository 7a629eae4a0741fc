"""Making the archive: wheels, the repository at its commit, data, and the script that installs them."""

from __future__ import annotations

import re
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmark.bundling.wheels import FILMS, NEVER_IMPORTED, fetch, packages, trim
from benchmark.common.errors import UserError, check_choice
from benchmark.common.files import make_folder
from benchmark.common.machine import ROOT
from benchmark.common.terminal import console
from envs.files.local import record_path

NAME = "rql-bundle"
"""The folder in the archive."""


@dataclass(frozen=True)
class Asked:
    """What an archive is to hold."""

    kind: str
    """One of `benchmark.bundling.wheels.KINDS`."""
    python: str
    """Minor version, e.g. "3.11"."""
    data: Sequence[Path]
    """Files of datasets, and their records."""
    out: Path


def python_version(text: str) -> str:
    """A minor version of Python that the project runs on, else a UserError."""
    if not re.fullmatch(r"3\.\d{1,2}", text) or int(text[2:]) < 11:
        raise UserError(f"--python must be a version such as 3.11, at least that, not '{text}'")
    return text


def data_files(folder: Path, datasets: Sequence[str]) -> list[Path]:
    """The files of datasets in a folder, a dataset by its file's name without ending; a UserError for one not there.

    The records beside them come along: they alone say which data were generated, and not published.
    """
    there = {path.name: path for path in folder.glob("*.npz")} | {path.name: path for path in folder.glob("*.hdf5")}
    known = {name.rpartition(".")[0].removesuffix("-val") for name in there}
    chosen = [check_choice(f"dataset in {folder}", name, sorted(known)) for name in datasets]
    files = [path for name, path in sorted(there.items()) if name.rpartition(".")[0].removesuffix("-val") in chosen]
    return [*files, *(record for record in map(record_path, files) if record.is_file())]


def make_bundle(asked: Asked) -> None:
    """Write the archive, and print what it holds and how large it is. Raises a UserError for what cannot be had."""
    make_folder(asked.out.absolute().parent)
    with tempfile.TemporaryDirectory(dir=asked.out.absolute().parent, prefix=".bundle-") as scratch:
        folder = Path(scratch) / NAME
        wheels = folder / "wheels"
        wheels.mkdir(parents=True)
        commit = clone(folder / "repository")
        wanted = packages(asked.kind)
        console.print(f"fetching {len(wanted)} wheels for Python {asked.python}", soft_wrap=True)
        fetch(wanted, asked.python, wheels)
        trim(wheels)
        (folder / "packages.txt").write_text("".join(f"{name}=={version}\n" for name, version in wanted.items()))
        if asked.data:
            (folder / "data").mkdir()
            for path in asked.data:
                shutil.copy2(path, folder / "data")
        script = folder / "install.sh"
        script.write_text(install_script(asked.kind, asked.python))
        script.chmod(0o755)
        temporary = asked.out.with_name(f".{asked.out.name}.tmp")
        with tarfile.open(temporary, "w") as archive:  # wheels and datasets are compressed already
            archive.add(folder, NAME)
        temporary.replace(asked.out)
        parts = {part.name: _bytes(part) for part in sorted(folder.iterdir()) if part.is_dir()}
    sizes = ", ".join(f"{name} {count / 1e6:.1f} MB" for name, count in parts.items())
    console.print(f"{asked.out}: {asked.out.stat().st_size / 1e6:.1f} MB ({sizes}), of commit {commit[:12]}")
    console.print(f"there: tar -xf {asked.out.name} && ./{NAME}/install.sh", soft_wrap=True)


def clone(folder: Path) -> str:
    """Copy the repository at its commit, with that commit alone, so that runs' records name it; return the commit.

    Raises a UserError where this is no repository, or something in it is not committed.
    """
    if _git("-C", str(ROOT), "status", "--porcelain", "--untracked-files=no").strip():
        raise UserError("the repository has changes that are not committed: a bundle holds the commit alone")
    commit = _git("-C", str(ROOT), "rev-parse", "HEAD").strip()
    _git("clone", "--quiet", "--depth=1", f"file://{ROOT}", str(folder))
    _git("-C", str(folder), "remote", "remove", "origin")
    return commit


def _git(*arguments: str) -> str:
    try:
        return subprocess.run(["git", *arguments], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        said = getattr(error, "stderr", "") or str(error)
        raise UserError(f"git {arguments[0]} fails: {said.strip().splitlines()[-1]}") from error


def _bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def install_script(kind: str, python: str) -> str:
    """The script that makes the environment of a bundle, repository/.venv, without a network."""
    return INSTALL.format(
        python=python,
        additions="yes" if kind == "additions" else "",
        left_out="|".join((*NEVER_IMPORTED, *FILMS) if kind == "additions" else NEVER_IMPORTED),
    )


INSTALL = """#!/bin/sh
# Makes repository/.venv from the wheels that lie here, without a network; of the Python that $PYTHON names.
set -eu
cd "$(dirname "$0")"
PYTHON=${{PYTHON:-python{python}}}
"$PYTHON" -c 'import sys; sys.exit("%d.%d" % sys.version_info[:2] != "{python}")' || {{
  echo "error: $PYTHON is not Python {python}, which the wheels are for; set PYTHON=/path/to/python{python}" >&2
  exit 2
}}
"$PYTHON" -m venv repository/.venv
VENV=repository/.venv/bin/python
if [ -n "{additions}" ]; then # the rest is the machine's: what $PYTHON imports, unless it is among the wheels
  "$PYTHON" -c 'import sys; print(*(p for p in sys.path if p.endswith("-packages")), sep="\\n")' \\
    >"$("$VENV" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/of-the-machine.pth"
fi
"$VENV" -m pip install --quiet --disable-pip-version-check --no-index --find-links wheels --no-deps -r packages.txt
"$VENV" - repository/requirements.txt <<'CHECK'
import re, sys
from importlib import metadata
from pip._vendor.packaging.requirements import Requirement

lines = (line.partition("#")[0].strip() for line in open(sys.argv[1]))
wrong = []
for wanted in (Requirement(line) for line in lines if line):
    try:
        found = metadata.version(wanted.name)
        if not wanted.specifier.contains(found):
            wrong.append(f"{{wanted}}, and there is {{found}}")
    except metadata.PackageNotFoundError:
        if not re.fullmatch("{left_out}", wanted.name):
            wrong.append(str(wanted))
sys.exit("error: this machine lacks " + "; ".join(wrong) if wrong else 0)
CHECK
touch repository/.venv/.installed
if [ -d data ]; then
  echo "datasets: export RQL_DATA_DIR=$(pwd)/data"
fi
echo "ready: cd $(pwd)/repository && .venv/bin/python run_all.py --list"
"""
