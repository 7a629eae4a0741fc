"""Where a run's dataset lies, and making or fetching it."""

from __future__ import annotations

from pathlib import Path

from benchmark.common.errors import UserError
from benchmark.runs.run import RunSpec
from envs.tasks import get_task


def data_path(spec: RunSpec) -> Path | None:
    """Where the run's dataset lies, or will lie; None for a toy, which has no file."""
    from envs.files.local import d4rl_file, data_folder

    task = get_task(spec.task)
    if task.domain.toy:
        return None
    folder = data_folder(spec.data_dir)
    if task.domain.d4rl:
        if spec.data is not None:
            raise UserError(f"D4RL's data cannot be generated: '{task.name}' has a published file")
        return folder / d4rl_file(task.name)
    if spec.data is None:
        return folder / (task.dataset if task.domain.shards else f"{task.dataset}.npz")
    return folder / "generated" / f"{spec.data.transitions}-seed{spec.data.seed}" / f"{task.dataset}.npz"


def missing_data(spec: RunSpec) -> list[tuple[str, int | None]]:
    """Files that the run's dataset lacks, each with its bytes where they are known; uses no network."""
    from envs.data.shards import shard_files
    from envs.files.local import missing
    from envs.generate import shards_made

    task, path = get_task(spec.task), data_path(spec)
    if path is None:
        return []
    if spec.data is not None:
        return [] if path.exists() else [(path.name, None)]
    if task.domain.shards and shards_made(path) is not None:
        return [(file.name, None) for file in shard_files(path) if not file.exists()]
    return missing([task.dataset], spec.data_dir)


def ensure_data(spec: RunSpec) -> Path | None:
    """Make or fetch the run's dataset if it is not there; processes that ask together do it once."""
    from filelock import FileLock

    from benchmark.common.files import make_folder

    task, path = get_task(spec.task), data_path(spec)
    if path is None:
        return None
    if task.domain.d4rl:
        from envs.d4rl.environments import check_installed

        check_installed(task)
    if spec.data is None:
        from envs.download import ensure_dataset
        from envs.generate import shards_made

        complete = not missing_data(spec) or shards_made(path) is not None
        return path if complete else ensure_dataset(task.dataset, spec.data_dir)
    from envs.generate import generate

    make_folder(path.parent)
    with FileLock(f"{path}.lock"):
        return generate(task.domain.name, spec.data.transitions, spec.data.seed, path)


def data_source(spec: RunSpec) -> str:
    """Where the run's data comes from: "generated", "toy" (made in code) or "published"."""
    return "generated" if spec.data else "toy" if get_task(spec.task).domain.toy else "published"
