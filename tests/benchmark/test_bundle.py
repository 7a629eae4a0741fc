"""A bundle makes the environment of a machine that reaches no package registry."""

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from importlib import metadata
from pathlib import Path

import pytest

from benchmark import bundle
from benchmark.bundling.archive import NAME, Asked, data_files, install_script, make_bundle
from benchmark.bundling.wheels import KINDS, NEVER_IMPORTED, PLATFORMS, PRESENT, closure, keep_parts, packages, reason
from benchmark.common.errors import UserError
from benchmark.common.machine import ROOT
from envs.data.origin import origin
from envs.files.local import sha256_of, write_record

LARGEST_ADDITIONS = 60_000_000

WORKS = """
from envs.family import family_of
from envs.tasks import get_task
NAMES = "cube-single-play scene-play puzzle-3x3-play antmaze-large-navigate humanoidmaze-medium-navigate"
for name in NAMES.split():
    task = get_task(f"{name}-singletask-task1-v0")
    env = family_of(task).make_env(task)
    env.reset(seed=0)
    env.step(env.action_space.sample())
    env.close()
import submitit, safetensors, imageio
from dm_control import mjcf
import sys
assert not {"labmaze", "tree", "dm_control.suite", "dm_control.locomotion"} & set(sys.modules)
"""


def test_wheels_of_every_glibc_up_to_that_of_the_machine_are_taken():
    """CUDA's libraries are made for one in between, 2.25, which pip does not take where 2.28 alone is named."""
    taken = {int(name.split("_")[2]) for name in PLATFORMS if name.startswith("manylinux_2_")}
    assert taken == set(range(5, 29))


def test_of_what_pip_says_the_reason_is_told():
    said = (
        "ERROR: Ignored the following versions that require a different python version: 0.12 Requires-Python >=3.12\n"
        "ERROR: Could not find a version that satisfies the requirement some-wheel==1 (from versions: 0.9)\n"
        "ERROR: No matching distribution found for some-wheel==1\n"
    )
    assert reason(said) == "No matching distribution found for some-wheel==1"
    assert reason("WARNING: nothing") == "it does not say why"


def test_additions_are_what_others_have_not_and_all_versions_are_the_pinned_ones():
    additions, cpu, cuda = (packages(kind) for kind in KINDS)
    assert {"ogbench", "mujoco", "gymnasium", "submitit", "safetensors", "dm-control"} <= additions.keys()
    assert not additions.keys() & (closure(PRESENT) | set(NEVER_IMPORTED) | {"pytest", "ruff", "mypy"})
    assert additions.items() < cpu.items() < cuda.items() and {"jax", "jaxlib", "imageio-ffmpeg"} <= cpu.keys()
    assert {"jax-cuda12-plugin", "nvidia-cudnn-cu12"} <= cuda.keys()
    assert additions["mujoco"] == metadata.version("mujoco")


def test_what_is_left_of_a_wheel_installs_as_a_whole_one(tmp_path):
    wheel = tmp_path / "thing-1.0-py3-none-any.whl"
    files = {
        "thing/__init__.py": "from thing.used import word\n",
        "thing/used/__init__.py": "word = 'here'\n",
        "thing/meshes/large.bin": "0" * 100_000,
        "thing-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: thing\nVersion: 1.0\n",
        "thing-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        "thing-1.0.dist-info/RECORD": "thing/meshes/large.bin,,\n",
    }
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    keep_parts(wheel, ["used"])
    names = zipfile.ZipFile(wheel).namelist()
    assert "thing/meshes/large.bin" not in names and len(names) == len(files) - 1
    target = tmp_path / "target"
    asked = [f"--target={target}", "--no-index", "--no-deps", "--quiet", "--disable-pip-version-check", str(wheel)]
    subprocess.run([sys.executable, "-m", "pip", "install", *asked], check=True)
    done = subprocess.run(
        [sys.executable, "-c", "import thing; print(thing.word)"],
        **dict(env=os.environ | {"PYTHONPATH": str(target)}, capture_output=True, text=True),
    )
    assert done.stdout == "here\n"


def test_datasets_are_taken_with_their_validation_files_and_others_are_named(tmp_path):
    for name in ("scene-play-v0", "scene-play-v0-val", "cube-single-play-v0"):
        (tmp_path / f"{name}.npz").write_bytes(b"")
    assert [path.name for path in data_files(tmp_path, ["scene-play-v0"])] == [
        "scene-play-v0-val.npz",
        "scene-play-v0.npz",
    ]
    with pytest.raises(UserError, match=r"unknown dataset in .* 'scene-pla-v0' .did you mean 'scene-play-v0'"):
        data_files(tmp_path, ["scene-pla-v0"])


def test_data_that_were_made_here_are_known_as_such_where_they_are_taken(tmp_path):
    there = tmp_path / "there"
    there.mkdir()
    for name in ("scene-play-v0", "scene-play-v0-val"):
        path = tmp_path / f"{name}.npz"
        path.write_bytes(name.encode())
        write_record(path, {}, sha256_of(path), {"source": "generated"})
    for path in data_files(tmp_path, ["scene-play-v0"]):
        shutil.copy2(path, there)
    for name in ("scene-play-v0.npz", "scene-play-v0-val.npz"):
        assert origin([there / name]) == origin([tmp_path / name]) == {"source": "generated"}


@pytest.mark.parametrize("version", ["3.10", "2.7", "three", "3.11.7"])
def test_a_python_that_cannot_be_is_named(version, tmp_path):
    with pytest.raises(UserError, match=r"--python must be a version such as 3\.11"):
        bundle.main([f"--python={version}", f"--out={tmp_path / 'new.tar'}"])
    assert not any(tmp_path.iterdir())


def test_the_script_refuses_another_python_in_a_line(tmp_path):
    script = tmp_path / "install.sh"
    script.write_text(install_script("cpu", "3.99"))
    done = subprocess.run(["sh", script], env={**os.environ, "PYTHON": sys.executable}, capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.startswith(f"error: {sys.executable} is not Python 3.99")
    assert not (tmp_path / "repository").exists()


def machine(folder: Path) -> Path:
    """The Python of an environment that has what machines for research in JAX have, and nothing else of ours."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    (site,) = (folder / "lib").glob("python3*/site-packages")
    for name in closure(PRESENT) - {"setuptools"}:
        found = metadata.distribution(name)
        for top in {file.parts[0] for file in found.files or () if file.parts[0] not in ("..", "__pycache__")}:
            if not (site / top).exists():
                (site / top).symlink_to(Path(str(found.locate_file(top))))
    return folder / "bin" / "python"


@pytest.mark.slow
def test_additions_are_small_and_make_a_bare_machine_run_without_a_registry(tmp_path):
    here = f"{sys.version_info.major}.{sys.version_info.minor}"
    make_bundle(Asked("additions", here, [], tmp_path / "bundle.tar"))
    assert (tmp_path / "bundle.tar").stat().st_size < LARGEST_ADDITIONS
    python = machine(tmp_path / "machine")
    bare = subprocess.run([python, "-c", "import jax, seaborn; import ogbench"], capture_output=True, text=True)
    assert "No module named 'ogbench'" in bare.stderr
    with tarfile.open(tmp_path / "bundle.tar") as archive:
        archive.extractall(tmp_path, filter="data")
    nowhere = {"PIP_NO_INDEX": "1", "PIP_CONFIG_FILE": os.devnull, "PIP_CACHE_DIR": str(tmp_path / "cache")}
    nowhere |= {f"{kind}_proxy": "127.0.0.1:9" for kind in ("http", "https")} | {"PYTHON": str(python)}
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "PYTHONPATH"))}
    environment |= nowhere
    installed = subprocess.run([tmp_path / NAME / "install.sh"], env=environment, capture_output=True, text=True)
    assert installed.returncode == 0, installed.stderr
    repository = tmp_path / NAME / "repository"
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=repository, capture_output=True, text=True).stdout
    assert head == subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True).stdout

    def there(*command: str) -> str:
        done = subprocess.run(
            [".venv/bin/python", *command], cwd=repository, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    there("-W", "ignore", "-c", WORKS)
    asked = ["--suite=toy", "--agents=bc", "--tasks=toy-modes", "--seeds=0", "--steps=100", "--set=hidden=8"]
    assert "100" in there("run_all.py", *asked, "--out=runs/tried")
    shutil.rmtree(tmp_path / NAME)
