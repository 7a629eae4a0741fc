"""Every command answers `--help` at once, without what is heavy, and is short: it parses and calls one function."""

import subprocess
import sys
from pathlib import Path

import pytest

from agents.base import Config
from benchmark.checking.examination import CHECKS
from benchmark.checking.names import NAMES
from benchmark.common.options import PRECISIONS
from tests.oracle import COMMANDS

ROOT = Path(__file__).resolve().parents[2]
HEAVY = {"jax", "flax", "optax", "orbax", "mujoco", "gymnasium", "ogbench", "matplotlib", "pandas", "h5py"}


@pytest.mark.parametrize("command", COMMANDS)
def test_help_loads_nothing_heavy(command):
    code = f"import sys, {command} as command\ntry:\n    command.main(['--help'])\nexcept SystemExit as end:\n"
    code += f"    sys.exit(end.code or ' '.join({HEAVY!r} & set(sys.modules)) or 0)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and "--help" in done.stdout, done.stderr


def test_a_command_of_the_benchmark_parses_and_calls_one_function():
    lines = {f"benchmark.{path.stem}": path.read_text().count("\n") for path in (ROOT / "benchmark").glob("*.py")}
    assert not {name: count for name, count in lines.items() if count > 90}


def test_what_help_says_without_jax_is_what_is_there():
    assert (*CHECKS, "toy") == NAMES
    assert Config.__dataclass_fields__["matmul_precision"].metadata["choices"] == PRECISIONS
