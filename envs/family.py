"""The kinds of task, and what is done with the tasks of each: where their data lie, how they are had and opened.

Whoever has a task asks `family_of(task)`; nothing else in the project asks of what kind a task is. What is heavy (JAX
and simulators) is imported by the methods that need it: plans of thousands of runs ask for names alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmark.common.errors import UserError
from envs.d4rl import environments
from envs.files.fetching import ensure_dataset
from envs.files.local import d4rl_file, data_folder, missing
from envs.ogbench.episodes import open_expert
from envs.ogbench.generating import shards_made
from envs.tasks import Task

if TYPE_CHECKING:
    from envs.data.dataset import Dataset
    from envs.play.camera import Camera, View
    from envs.play.live import Live
    from envs.world import Stage, World


class Family:
    """What a kind of task answers; said here for tasks without file, simulator or packages of their own."""

    source: str
    """Where its data come from, as records say it, unless they were generated for a run."""
    not_generated = ""
    """Why its data cannot be generated, where they cannot."""

    def data_path(self, task: Task, data_dir: str | None) -> Path | None:
        """The file of the task's dataset, or the folder of its shards, which need not be there; None: no file."""
        return None

    def missing(self, task: Task, data_dir: str | None) -> list[tuple[str, int | None]]:
        """Files that the dataset lacks, each with its bytes where they are known; uses no network."""
        return []

    def ensure(self, task: Task, data_dir: str | None) -> Path | None:
        """Fetch the dataset where it is not there, and return its path. Raises a UserError where it cannot be had, or a
        package is missing that the task needs.
        """
        return None

    def check_generated(self, task: Task) -> None:
        """Raise a UserError where the task's data cannot be generated."""
        raise UserError(f"the data of '{task.name}' cannot be generated, it {self.not_generated}")

    def make_env(self, task: Task) -> Any:
        """The task's `gymnasium.Env`. Raises a UserError where there is none of the kind."""
        raise UserError(f"'{task.name}' has no environment of gymnasium's kind")

    def load(self, task: Task, path: Path, env, **options: Any) -> Dataset:
        """A file of the task's data, for its environment `env`; options as of `envs.data.dataset.load`."""
        raise UserError(f"'{task.name}' has no file of data")

    def dataset_rewards(self, task: Task, rewards: np.ndarray) -> np.ndarray:
        """An environment's rewards (N,) in the form that the task's dataset has for training, offline and online."""
        return rewards

    def record(self, task: Task) -> dict[str, Any]:
        """What a run's record says of the task beyond its data."""
        return {}

    def open_world(
        self, task: Task, path: Path | None, environments: int, sampler: str = "sequences", chunk_length: int = 1
    ) -> World:
        """Open the task for training: on the dataset at `path`, stepping so many environments at a time.

        Raises a UserError where the data cannot be learned from, or has no chunk of that length for that sampler.
        """
        raise NotImplementedError

    def open_stage(self, task: Task, environments: int) -> Stage:
        """Open the task for playing alone, without its data, stepping so many environments at a time."""
        raise NotImplementedError

    def open_live(self, task: Task, seeds: Sequence[int]) -> Live:
        """Environments to learn in, one for each seed."""
        raise NotImplementedError

    def check_drawing(self, task: Task) -> None:
        """Raise a UserError where episodes of the task cannot be drawn, or nothing on this machine can."""
        raise UserError(f"episodes of '{task.name}' cannot be filmed")

    def open_camera(self, task: Task, view: View) -> Camera:
        """What plays episodes of the task again, to be seen."""
        raise NotImplementedError


class OGBench(Family):
    """OGBench's tasks: a published file (of 100M transitions, a folder) a domain, or one that its scripts make."""

    source = "published"

    def data_path(self, task: Task, data_dir: str | None) -> Path:
        return data_folder(data_dir) / (task.dataset if task.domain.shards else f"{task.dataset}.npz")

    def missing(self, task: Task, data_dir: str | None) -> list[tuple[str, int | None]]:
        from envs.data.shards import shard_files

        path = self.data_path(task, data_dir)
        if task.domain.shards and shards_made(path) is not None:
            return [(file.name, None) for file in shard_files(path) if not file.exists()]
        return missing([task.dataset], data_dir)

    def ensure(self, task: Task, data_dir: str | None) -> Path:
        path = self.data_path(task, data_dir)
        if not self.missing(task, data_dir) or shards_made(path) is not None:
            return path  # shards that were generated are not fetched: those that are missing are named on opening
        return ensure_dataset(task.dataset, data_dir)

    def check_generated(self, task: Task) -> None:
        open_expert(task.domain.name)

    def make_env(self, task: Task) -> Any:
        from envs.data.environment import make_env

        return make_env(task)

    def load(self, task: Task, path: Path, env, **options: Any) -> Dataset:
        from envs.data.dataset import load

        return load(task, path, env, **options)

    def dataset_rewards(self, task: Task, rewards: np.ndarray) -> np.ndarray:
        return np.where(rewards != 0, -1.0, 0.0) if task.domain.sparse else rewards

    def open_world(
        self, task: Task, path: Path | None, environments: int, sampler: str = "sequences", chunk_length: int = 1
    ) -> World:
        from envs.world import SimulatorWorld

        assert path is not None, f"{task.name} needs a dataset"
        return SimulatorWorld(self, task, path, environments, sampler, chunk_length)

    def open_stage(self, task: Task, environments: int) -> Stage:
        from envs.play.pool import EvaluationPool

        return EvaluationPool(task.name, environments, make_env=partial(self.make_env, task))

    def open_live(self, task: Task, seeds: Sequence[int]) -> Live:
        from envs.play.live import SimulatorLive

        return SimulatorLive(self, task, seeds)

    def check_drawing(self, task: Task) -> None:
        from envs.play.renderer import choose_renderer

        choose_renderer()

    def open_camera(self, task: Task, view: View) -> Camera:
        from envs.play.camera import SimulatorCamera

        return SimulatorCamera(task, view)


class D4RL(OGBench):
    """D4RL's antmaze and adroit tasks: an original HDF5 file each, on the best environment that the machine has."""

    not_generated = "has a published file"
    check_generated = Family.check_generated
    check_drawing = Family.check_drawing

    def data_path(self, task: Task, data_dir: str | None) -> Path:
        return data_folder(data_dir) / d4rl_file(task.name)

    def ensure(self, task: Task, data_dir: str | None) -> Path:
        environments.check_installed(task)
        return super().ensure(task, data_dir)

    def make_env(self, task: Task) -> Any:
        from envs.data.environment import quietly

        with quietly():
            return environments.make_env(task.name)

    def load(self, task: Task, path: Path, env, *, clip_actions: bool = True, **options: Any) -> Dataset:
        from envs.data.dataset import load_d4rl

        return load_d4rl(task, path, env, **options)  # actions are always clipped

    def dataset_rewards(self, task: Task, rewards: np.ndarray) -> np.ndarray:
        return environments.dataset_rewards(task, rewards)

    def record(self, task: Task) -> dict[str, Any]:
        return environments.record(task)


class Toy(Family):
    """Tasks that are made in code, of arrays alone, and have no file."""

    source = "toy"
    not_generated = "is made in code"

    def open_world(
        self, task: Task, path: Path | None, environments: int, sampler: str = "sequences", chunk_length: int = 1
    ) -> World:
        from envs.data.dataset import check_chunks
        from envs.toy.world import ToyWorld

        world = ToyWorld(task)
        check_chunks(world.data, sampler, chunk_length, task.dataset)
        return world

    def open_stage(self, task: Task, environments: int) -> Stage:
        from envs.toy.world import ToyWorld

        return ToyWorld(task)

    def open_live(self, task: Task, seeds: Sequence[int]) -> Live:
        from envs.toy.world import ToyLive

        return ToyLive(task, seeds)

    def check_drawing(self, task: Task) -> None:
        """Toys are drawn as arrays."""

    def open_camera(self, task: Task, view: View) -> Camera:
        from envs.toy.camera import ToyCamera

        return ToyCamera(task, view)


FAMILIES: dict[str, Family] = {"ogbench": OGBench(), "d4rl": D4RL(), "toy": Toy()}
"""By what `Domain.family` says."""


def family_of(task: Task) -> Family:
    """The kind of a task."""
    return FAMILIES[task.domain.family]
