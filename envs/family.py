"""The kinds of task, and what is done with the tasks of each: where their data lie, how they are had and opened.

Whoever has a task asks `family_of(task)`; nothing else in the project asks of what kind a task is. What is heavy (JAX,
simulators, the download) is imported by the methods that need it: plans of thousands of runs ask for names alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from benchmark.common.errors import UserError
from envs.tasks import Task

if TYPE_CHECKING:
    from envs.data.dataset import Dataset
    from envs.play.live import Live
    from envs.world import World


class Family(Protocol):
    """What a kind of task answers."""

    source: str
    """Where its data come from, as records say it, unless they were generated for a run."""

    def data_path(self, task: Task, data_dir: str | None) -> Path | None:
        """The file of the task's dataset, or the folder of its shards, which need not be there; None: no file."""

    def missing(self, task: Task, data_dir: str | None) -> list[tuple[str, int | None]]:
        """Files that the dataset lacks, each with its bytes where they are known; uses no network."""

    def ensure(self, task: Task, data_dir: str | None) -> Path | None:
        """Fetch the dataset where it is not there, and return its path. Raises a UserError where it cannot be had."""

    def check_ready(self, task: Task) -> None:
        """Raise a UserError where a package is missing that the task needs."""

    def check_generated(self, task: Task) -> None:
        """Raise a UserError where the task's data cannot be generated."""

    def make_env(self, task: Task) -> Any:
        """The task's `gymnasium.Env`. Raises a UserError where there is none of the kind."""

    def load(
        self, task: Task, path: Path, env, *, clip_actions: bool = True, sampler: str = "sequences", chunk_length=1
    ) -> Dataset:
        """A file of the task's data, for its environment `env`; see `envs.data.dataset.load`."""

    def record(self, task: Task) -> dict[str, Any]:
        """What a run's record says of the task beyond its data."""

    def open_world(
        self, task: Task, path: Path | None, environments: int, sampler: str = "sequences", chunk_length: int = 1
    ) -> World:
        """Open the task for training: on the dataset at `path`, stepping so many environments at a time.

        Raises a UserError where the data cannot be learned from, or has no chunk of that length for that sampler.
        """

    def open_live(self, task: Task, seeds: Sequence[int]) -> Live:
        """Environments to learn in, one for each seed."""


class OGBench:
    """OGBench's tasks: a published file (of 100M transitions, a folder) a domain, or one that its scripts make."""

    source = "published"

    def data_path(self, task: Task, data_dir: str | None) -> Path:
        """See `Family`."""
        from envs.files.local import data_folder

        return data_folder(data_dir) / (task.dataset if task.domain.shards else f"{task.dataset}.npz")

    def missing(self, task: Task, data_dir: str | None) -> list[tuple[str, int | None]]:
        """See `Family`. Of shards that were generated, those that were to be."""
        from envs.data.shards import shard_files
        from envs.files.local import missing
        from envs.generate import shards_made

        path = self.data_path(task, data_dir)
        if task.domain.shards and shards_made(path) is not None:
            return [(file.name, None) for file in shard_files(path) if not file.exists()]
        return missing([task.dataset], data_dir)

    def ensure(self, task: Task, data_dir: str | None) -> Path:
        """See `Family`. Shards that were generated are never fetched: those that are missing are named on opening."""
        from envs.download import ensure_dataset
        from envs.generate import shards_made

        self.check_ready(task)
        path = self.data_path(task, data_dir)
        if not self.missing(task, data_dir) or shards_made(path) is not None:
            return path
        return ensure_dataset(task.dataset, data_dir)

    def check_ready(self, task: Task) -> None:
        """Nothing but what is always installed."""

    def check_generated(self, task: Task) -> None:
        """See `Family`: there must be a recipe."""
        from envs.ogbench.episodes import find_recipe

        find_recipe(task.domain.name)

    def make_env(self, task: Task) -> Any:
        """See `Family`."""
        from envs.data.environment import make_env

        return make_env(task)

    def load(self, task: Task, path: Path, env, **options: Any) -> Dataset:
        """See `Family`."""
        from envs.data.dataset import load

        return load(task, path, env, **options)

    def record(self, task: Task) -> dict[str, Any]:
        """Nothing."""
        return {}

    def open_world(
        self, task: Task, path: Path | None, environments: int, sampler: str = "sequences", chunk_length: int = 1
    ) -> World:
        """See `Family`."""
        from envs.world import SimulatorWorld

        assert path is not None, f"{task.name} needs a dataset"
        return SimulatorWorld(self, task, path, environments, sampler, chunk_length)

    def open_live(self, task: Task, seeds: Sequence[int]) -> Live:
        """See `Family`."""
        from envs.play.live import SimulatorLive

        return SimulatorLive(partial(self.make_env, task), task, seeds)


class D4RL(OGBench):
    """D4RL's antmaze and adroit tasks: an original HDF5 file each, on the best environment that the machine has."""

    def data_path(self, task: Task, data_dir: str | None) -> Path:
        """See `Family`."""
        from envs.files.local import d4rl_file, data_folder

        return data_folder(data_dir) / d4rl_file(task.name)

    def check_ready(self, task: Task) -> None:
        """See `Family`: its files need h5py, and adroit gymnasium-robotics."""
        from envs.d4rl.environments import check_installed

        check_installed(task)

    def check_generated(self, task: Task) -> None:
        """See `Family`."""
        raise UserError(f"the data of '{task.name}' cannot be generated, it has a published file")

    def make_env(self, task: Task) -> Any:
        """See `Family`."""
        from envs.d4rl.environments import make_env
        from envs.data.environment import quietly

        with quietly():
            return make_env(task.name)

    def load(self, task: Task, path: Path, env, *, clip_actions: bool = True, **options: Any) -> Dataset:
        """See `Family`: actions are always clipped."""
        from envs.data.dataset import load_d4rl

        return load_d4rl(task, path, env, **options)

    def record(self, task: Task) -> dict[str, Any]:
        """Which environment plays it here, and D4RL's reference scores."""
        from envs.d4rl.environments import record

        return record(task)


class Toy:
    """Tasks that are made in code, of arrays alone, and have no file."""

    source = "toy"

    def data_path(self, task: Task, data_dir: str | None) -> None:
        """None."""

    def missing(self, task: Task, data_dir: str | None) -> list[tuple[str, int | None]]:
        """Nothing."""
        return []

    def ensure(self, task: Task, data_dir: str | None) -> None:
        """Nothing is to be had."""

    def check_ready(self, task: Task) -> None:
        """Nothing but what is always installed."""

    def check_generated(self, task: Task) -> None:
        """See `Family`."""
        raise UserError(f"the data of '{task.name}' cannot be generated, it is made in code")

    def make_env(self, task: Task) -> Any:
        """See `Family`."""
        raise UserError(f"'{task.name}' has no environment of gymnasium's kind, it is made in code")

    def load(self, task: Task, path: Path, env, **options: Any) -> Dataset:
        """See `Family`."""
        raise UserError(f"'{task.name}' has no file of data, it is made in code")

    def record(self, task: Task) -> dict[str, Any]:
        """Nothing."""
        return {}

    def open_world(
        self, task: Task, path: Path | None, environments: int, sampler: str = "sequences", chunk_length: int = 1
    ) -> World:
        """See `Family`; neither path nor environments are needed."""
        from envs.data.dataset import check_chunks
        from envs.toy.world import ToyWorld

        world = ToyWorld(task)
        check_chunks(world.data, sampler, chunk_length, task.dataset)
        return world

    def open_live(self, task: Task, seeds: Sequence[int]) -> Live:
        """See `Family`."""
        from envs.toy.world import ToyLive

        return ToyLive(task, seeds)


FAMILIES: dict[str, Family] = {"ogbench": OGBench(), "d4rl": D4RL(), "toy": Toy()}
"""By what `Domain.family` says."""


def family_of(task: Task) -> Family:
    """The kind of a task."""
    return FAMILIES[task.domain.family]
