"""Settings of all tests."""

import os
import subprocess
from pathlib import Path

import jax
import pytest
import submitit  # noqa: F401  (sets up logging, which closes what logs until then: once, before any test captures that)

from benchmark.loop.compiled import forget_programs_if_many

# Programs are kept from one run of the tests to the next, apart from those of the user.
os.environ["RQL_CACHE_DIR"] = str(Path(__file__).resolve().parent.parent / ".pytest_cache" / "rql")

# Nearly all of the suite's time is compilation of small programs: let the compiler try less.
jax.config.update("jax_disable_most_optimizations", True)


def pytest_configure(config):
    """XLA's flags, here and in the processes that tests start, before JAX has computed anything."""
    flags = os.environ.get("XLA_FLAGS", "").split()
    if config.option.markexpr not in ("slow", "slurm"):  # where real training takes more time than compilation
        # The older emitter of fusions compiles in half the time; its programs run half as fast.
        flags.append("--xla_cpu_use_fusion_emitters=false")
    if "PYTEST_XDIST_WORKER" in os.environ:  # there is a worker for each core
        flags.append("--xla_cpu_multi_thread_eigen=false")
        os.setpgid(0, 0)  # a test that killed its process group would end its worker, and be named; not all and unnamed
    os.environ["XLA_FLAGS"] = " ".join(dict.fromkeys(flags))  # a worker has its parent's already


@pytest.fixture(autouse=True)
def _room_for_programs():
    """Of each test; those of many would end the process."""
    yield
    forget_programs_if_many()


@pytest.fixture
def full_optimization():
    """For the few tests whose time is computation."""
    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.config.update("jax_disable_most_optimizations", True)


@pytest.fixture
def small_disk(tmp_path):
    """A disk of two megabytes."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "none", str(folder)], capture_output=True)
    if mounted.returncode:
        pytest.skip("a small disk can only be mounted by root")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)
