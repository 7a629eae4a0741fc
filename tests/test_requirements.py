"""The exact versions: those of a GPU stand beside those of the CPU, and are of the same jax."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def pins(name: str) -> dict[str, str]:
    """The exact versions in a lock, by package."""
    return dict(re.findall(r"^([\w.-]+)==(\S+)$", (ROOT / name).read_text(), re.M))


def test_the_gpu_has_exact_versions_beside_the_cpus_and_of_the_same_jax() -> None:
    gpu, cpu = pins("requirements-gpu.lock"), pins("requirements.lock")
    assert "-r requirements.lock" in (ROOT / "requirements-gpu.lock").read_text().splitlines()
    assert gpu["jax-cuda12-plugin"] == gpu["jax-cuda12-pjrt"] == cpu["jax"]
    assert {"nvidia-cudnn-cu12", "nvidia-cublas-cu12"} <= set(gpu) and not set(gpu) & set(cpu)


def test_the_readme_and_make_name_the_gpus_lock() -> None:
    for name in ("README.md", "Makefile"):
        assert "pip install -r requirements-gpu.lock" in re.sub(r"\s+", " ", (ROOT / name).read_text()), name
