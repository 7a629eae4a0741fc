"""Where a run's dataset lies, and making or fetching it."""

from __future__ import annotations

from pathlib import Path

from filelock import FileLock

from benchmark.common.files import make_folder
from benchmark.runs.run import RunSpec
from envs.family import family_of
from envs.tasks import get_task


def data_path(spec: RunSpec) -> Path | None:
    """Where the run's dataset lies, or will lie; None for a toy, which has no file."""
    task = get_task(spec.task)
    path = family_of(task).data_path(task, spec.data_dir)
    if path is None or spec.data is None:
        return path
    family_of(task).check_generated(task)
    from envs.files.local import data_folder

    made = f"{spec.data.transitions}-seed{spec.data.seed}"
    return data_folder(spec.data_dir) / "generated" / made / f"{task.dataset}.npz"


def missing_data(spec: RunSpec) -> list[tuple[str, int | None]]:
    """Files that the run's dataset lacks, each with its bytes where they are known; uses no network."""
    task, path = get_task(spec.task), data_path(spec)
    if spec.data is None or path is None:
        return family_of(task).missing(task, spec.data_dir)
    return [] if path.exists() else [(path.name, None)]


def ensure_data(spec: RunSpec) -> Path | None:
    """Make or fetch the run's dataset if it is not there; processes that ask together do it once."""
    task, path = get_task(spec.task), data_path(spec)
    if spec.data is None or path is None:
        return family_of(task).ensure(task, spec.data_dir)
    from envs.generate import generate

    make_folder(path.parent)
    with FileLock(f"{path}.lock"):
        return generate(task.domain.name, spec.data.transitions, spec.data.seed, path)


def data_source(spec: RunSpec) -> str:
    """Where the run's data comes from: "generated", "toy" (made in code) or "published"."""
    return "generated" if spec.data else family_of(get_task(spec.task)).source
