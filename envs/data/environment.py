"""A task's environment."""

from __future__ import annotations

import warnings

from envs.d4rl import environments as d4rl_environments
from envs.tasks import Task


def env_name(task: Task) -> str:
    """Name of the task's environment in gymnasium, e.g. 'cube-double-singletask-task1-v0'."""
    return f"{task.domain.name.rsplit('-', 1)[0]}-singletask-task{task.number}-v0"


def make_env(task: Task):
    """Make the task's environment, without what the simulator says on a machine that has no display."""
    import gymnasium

    gymnasium.logger.min_level = gymnasium.logger.ERROR  # spaces' bounds lose precision at every reset: no matter
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if task.domain.d4rl:
            return d4rl_environments.make_env(task.name)
        import ogbench  # noqa: F401  (registers the environments)

        return gymnasium.make(env_name(task), disable_env_checker=True)
