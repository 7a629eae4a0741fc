"""The environment of one of OGBench's tasks."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from typing import Any

import gymnasium

from envs.data.temporary import models_removed
from envs.tasks import Task


def env_name(task: Task) -> str:
    """Name of the task's environment in gymnasium, e.g. 'cube-double-singletask-task1-v0'."""
    return f"{task.domain.name.rsplit('-', 1)[0]}-singletask-task{task.number}-v0"


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Without what simulators say within on a machine that has no display."""
    gymnasium.logger.min_level = gymnasium.logger.ERROR  # spaces' bounds lose precision at every reset: no matter
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def make_env(task: Task, **options: Any):
    """Make the task's environment; options as OGBench's environments take them, e.g. the width of what is rendered."""
    with quietly(), models_removed():
        import ogbench  # noqa: F401, PLC0415  (registers them; loads MuJoCo, which toys do without)

        return gymnasium.make(env_name(task), disable_env_checker=True, **options)
