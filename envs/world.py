"""A task, opened: its dataset on the device and a way to evaluate a policy in its environment."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

from envs import dataset
from envs.evaluation import EpisodeResults, EvaluationPool, Policy
from envs.tasks import Task
from envs.toy import ToyWorld

MOST_ENVIRONMENTS = 64
"""Environments in flight at a time; each is a process that shares its meshes with the others."""


class World(Protocol):
    """What training needs of a task."""

    data: dataset.Dataset
    source: dict[str, Any]
    """Which data this is, for the record."""

    def evaluate(
        self,
        policy: Policy,
        seeds: Sequence[int],
        episodes: int,
        step: int,
        active: Sequence[bool],
        on_progress: Callable[[int, int], None] | None = None,
    ) -> list[EpisodeResults | None]:
        """Play exactly `episodes` episodes for each active run; see `EvaluationPool.evaluate`."""

    def close(self) -> None:
        """Stop what runs."""


class OGBenchWorld:
    """A real OGBench environment, stepped in worker processes, and one of its datasets."""

    def __init__(self, task: Task, path: Path, environments: int):
        """Load the dataset at `path`; the workers' environment is made meanwhile."""
        self.pool = EvaluationPool(task.name, environments)
        try:
            self.data = dataset.load(task, path, dataset.make_env(task), clip_actions=not task.domain.shards)
        except BaseException:
            self.pool.close()
            raise
        self.source = {
            "name": task.dataset,
            "fingerprint": dataset.fingerprint(path),
            "transitions": self.data.size,
            "path": str(path),
        }

    def evaluate(self, policy, seeds, episodes, step, active, on_progress=None):
        """See `World.evaluate`."""
        return self.pool.evaluate(policy, seeds, episodes, step, active=active, on_progress=on_progress)

    def close(self) -> None:
        """Stop the workers."""
        self.pool.close()


def open_world(task: Task, path: Path | None, environments: int) -> World:
    """Open a task: on the dataset at `path`, stepping so many environments at a time; a toy needs neither."""
    if task.domain.toy:
        return ToyWorld(task)
    assert path is not None, f"{task.name} needs a dataset"
    return OGBenchWorld(task, path, environments)


def environments_for(seeds: int, episodes: int) -> int:
    """How many environments to step at a time, for so many seeds of so many episodes each."""
    return seeds * max(1, min(episodes, MOST_ENVIRONMENTS // seeds))
