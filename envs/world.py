"""A task, opened: its dataset on the device and a way to evaluate a policy in its environment."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from envs.data import dataset, origin
from envs.data.shards import Rotation, check_shards, shard_files
from envs.play.pool import EpisodeResults, EvaluationPool, Policy
from envs.tasks import Task

if TYPE_CHECKING:
    from envs.family import Family

MOST_ENVIRONMENTS = 64
"""Environments in flight at a time; each is a process that shares its meshes with the others."""


class Stage(Protocol):
    """Where policies play episodes of a task."""

    def evaluate(
        self,
        policy: Policy,
        seeds: Sequence[int],
        episodes: int,
        step: int,
        *,
        active: Sequence[bool],
        on_progress: Callable[[int, int], None] | None = None,
        only: Collection[int] | None = None,
    ) -> list[EpisodeResults | None]:
        """Play exactly `episodes` episodes for each active run; see `EvaluationPool.evaluate`."""

    def close(self) -> None:
        """Stop what runs."""


class World(Stage, Protocol):
    """What training needs of a task."""

    source: dict[str, Any]
    """Which data this is, for the record."""

    def data_for(self, update: int) -> dataset.Dataset:
        """The dataset of update `update`, counted from 0; whoever asks has done with that of the updates before."""

    def next_change(self, update: int) -> int | None:
        """The first update after `update` that has another dataset, None where all have the same."""


class SimulatorWorld:
    """A real environment, OGBench's or D4RL's, stepped in worker processes, and one of its datasets."""

    def __init__(self, family: Family, task: Task, path: Path, environments: int, sampler: str, chunk_length: int):
        """Load the dataset at `path`, a file or a folder of shards; the workers' environment is made meanwhile."""
        files, sharded = [path], bool(task.domain.shards) and path.is_dir()
        if sharded:
            files = shard_files(path)
            check_shards(files)
        self.pool = EvaluationPool(task.name, environments, make_env=partial(family.make_env, task))
        try:
            env = family.make_env(task)
            options: dict[str, Any] = dict(clip_actions=not sharded, sampler=sampler, chunk_length=chunk_length)
            rotation = Rotation(files, lambda file: family.load(task, file, env, **options))
        except BaseException:
            self.pool.close()
            raise
        self.rotation, self.data_for, self.next_change = rotation, rotation.data_for, rotation.next_change
        self.source = {
            "name": task.dataset,
            "fingerprint": origin.fingerprint(files),
            "transitions": rotation.data_for(0).size * len(files),
            "files": len(files),
            "path": str(path),
            **origin.origin(files),
            **family.record(task),
        }

    def evaluate(self, policy, seeds, episodes, step, *, active, on_progress=None, only=None):
        """See `Stage.evaluate`."""
        return self.pool.evaluate(policy, seeds, episodes, step, active=active, on_progress=on_progress, only=only)

    def close(self) -> None:
        """Stop the workers and the loading."""
        self.pool.close()
        self.rotation.close()


def environments_for(seeds: int, episodes: int) -> int:
    """How many environments to step at a time, for so many seeds of so many episodes each."""
    return seeds * max(1, min(episodes, MOST_ENVIRONMENTS // seeds))
