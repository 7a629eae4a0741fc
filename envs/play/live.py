"""Environments to learn in: one for each seed, stepped together, a step at a time.

An episode depends on its identity alone (run seed, the step at which it begins), as in evaluation, so that a run that
is stopped and goes on plays the same episodes. This module does not import JAX: worker processes import it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import gymnasium
import numpy as np
from gymnasium.vector import AsyncVectorEnv, AutoresetMode

from envs.play.worker import reset_episode, task_number
from envs.tasks import Task

if TYPE_CHECKING:
    from envs.family import Family

ONLINE = 0x0A11FE
"""Part of the identity of the episodes of online phases, none of which evaluation has as a step."""


@dataclass(frozen=True)
class Steps:
    """What S environments gave for an action each; arrays with leading axis S."""

    next_observations: np.ndarray
    """s', (S, O) float32."""
    rewards: np.ndarray
    """(S,), as the task's dataset has them."""
    masks: np.ndarray
    """(S,) bool: False where the task is solved, in the state that the dataset judges by."""
    ended: np.ndarray
    """(S,) bool: whether the episode is over, solved or cut."""
    success: np.ndarray
    """(S,), as evaluation counts it."""


class Live(Protocol):
    """S environments under way."""

    def reset(self, which: np.ndarray, step: int) -> np.ndarray:
        """Begin a new episode where `which` (S,) says; observations (S, O) of all."""

    def step(self, actions: np.ndarray) -> Steps:
        """Take an action (S, d) in every environment."""

    def close(self) -> None:
        """End."""


def identities(seeds: Sequence[int], step: int) -> list[int | None]:
    """A number for each episode that begins at that step."""
    return [int(np.random.SeedSequence([seed, ONLINE, step]).generate_state(1)[0]) for seed in seeds]


class Repeatable(gymnasium.Wrapper):
    """An environment whose episodes depend on the seed given to `reset` alone; mazes ignore it otherwise."""

    def __init__(self, env: gymnasium.Env, task_id: int | None):
        """`task_id`: which of the environment's tasks to play."""
        super().__init__(env)
        self.task_id = task_id
        env.reset()

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None):
        """Begin the episode of that number."""
        assert seed is not None
        return reset_episode(self.env, [seed], self.task_id), {}


def make_repeatable(make_env: Callable[[], gymnasium.Env], task_name: str) -> gymnasium.Env:
    """What a worker process makes."""
    return Repeatable(make_env(), task_number(task_name))


class SimulatorLive:
    """Environments of a simulator, a worker process for each seed."""

    def __init__(self, family: Family, task: Task, seeds: Sequence[int]):
        """Start the workers; making the environments, for which `family.make_env` is sent to them, takes seconds."""
        self.seeds, self.dataset_rewards = list(seeds), partial(family.dataset_rewards, task)
        make = partial(make_repeatable, partial(family.make_env, task), task.name)
        self.env = AsyncVectorEnv([make] * len(self.seeds), context="spawn", autoreset_mode=AutoresetMode.DISABLED)

    def reset(self, which, step):
        """See `Live.reset`."""
        options = {"reset_mask": np.asarray(which, bool)}
        observations, _ = self.env.reset(seed=identities(self.seeds, step), options=options)
        return observations.astype(np.float32)

    def step(self, actions):
        """See `Live.step`. Success ends the episode. OGBench judges it, and rewards, by the state before the action,
        D4RL by the state after it.
        """
        observations, rewards, terminated, truncated, info = self.env.step(np.asarray(actions, np.float32))
        success, ended = np.asarray(info["success"], float), terminated | truncated
        return Steps(observations.astype(np.float32), self.dataset_rewards(rewards), ~terminated, ended, success)

    def close(self):
        """See `Live.close`."""
        self.env.close()
