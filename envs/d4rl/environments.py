"""D4RL's tasks: which environment plays them on this machine, and their reference scores."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmark.common.errors import UserError
from envs.d4rl.adroit import held_for, make_hand
from envs.tasks import Task, get_task

if TYPE_CHECKING:
    import gymnasium


ORIGINAL = "D4RL's own (mujoco_py)"
ANT = "D4RL's maze on OGBench's ant"
HAND = "gymnasium-robotics' hand with D4RL's rewards and terminations"

BASES = ("http://rail.eecs.berkeley.edu/datasets/offline_rl",)
FOLDER = "d4rl"
"""Where the files lie within the data folder, by their paths at the source."""
_ANT_FILES = {
    "umaze": "u-maze_noisy_multistart_False_multigoal_False",
    "umaze-diverse": "u-maze_noisy_multistart_True_multigoal_True",
    "medium-play": "big-maze_noisy_multistart_True_multigoal_False",
    "medium-diverse": "big-maze_noisy_multistart_True_multigoal_True",
    "large-play": "hardest-maze_noisy_multistart_True_multigoal_False",
    "large-diverse": "hardest-maze_noisy_multistart_True_multigoal_True",
}
_HAND_SCORES = {
    "pen": (96.262799, 3076.8331017826877),
    "door": (-56.512833, 2880.5693087298737),
    "hammer": (-274.856578, 12794.134825156867),
    "relocate": (-6.425911, 4233.877797728884),
}
MUJOCO_2_1 = "~/.mujoco/mujoco210"


def is_maze(task: Task) -> bool:
    """Whether a D4RL task is an antmaze; else it is one of adroit's."""
    return task.name.startswith("antmaze-")


def dataset_rewards(task: Task, rewards: np.ndarray) -> np.ndarray:
    """D4RL's rewards (N,) as FQL trains on them: a maze's lowered by 1, to -1 and 0, and adroit's as they are."""
    return rewards - 1.0 if is_maze(task) else rewards


def file_of(name: str) -> str:
    """Path of a task's HDF5 file below `BASES`, and below `FOLDER` in the data folder."""
    if name.startswith("antmaze-"):
        kind = name.removeprefix("antmaze-").removesuffix("-v2")
        return f"ant_maze_v2/Ant_maze_{_ANT_FILES[kind]}_sparse_fixed.hdf5"
    return f"hand_dapg_v1/{name}.hdf5"


def reference_scores(task: Task) -> tuple[float, float]:
    """D4RL's returns of a random and of an expert policy, between which it normalises."""
    return (0.0, 1.0) if is_maze(task) else _HAND_SCORES[task.name.partition("-")[0]]


def has_original() -> bool:
    """Whether the original environments can be made here."""
    installed = all(importlib.util.find_spec(name) is not None for name in ("mujoco_py", "d4rl"))
    return installed and Path(MUJOCO_2_1).expanduser().is_dir()


def environment_of(task: Task) -> str:
    """The environment that this machine has for a task: `ORIGINAL`, `ANT` or `HAND`."""
    return ORIGINAL if has_original() else ANT if is_maze(task) else HAND


def check_installed(task: Task) -> None:
    """Raise a UserError where a package is missing that a task's data or environment needs."""
    import_h5py()
    if environment_of(task) == HAND and importlib.util.find_spec("gymnasium_robotics") is None:
        raise UserError("adroit needs gymnasium-robotics: pip install -r requirements-d4rl.txt")


def record(task: Task) -> dict[str, Any]:
    """What a run's record says of a task beyond its data: which environment it has, and D4RL's reference scores."""
    return {"environment": environment_of(task), "reference_scores": list(reference_scores(task))}


def make_env(name: str) -> gymnasium.Env:
    """Make the environment of a D4RL task, e.g. 'antmaze-large-play-v2', with D4RL's limit on its episodes.

    `info['success']` is 1 at a maze's goal, and for the hand from when D4RL's own criterion of success is met.

    Raises:
        UserError: adroit without gymnasium-robotics.
    """
    import gymnasium

    task = get_task(name)
    kind = environment_of(task)
    env: gymnasium.Env
    if kind == ORIGINAL:
        env = OriginalEnv(name)
    elif kind == ANT:
        from envs.d4rl.antmaze import MazeAnt

        env = MazeAnt(name.split("-")[1])
    else:
        check_installed(task)
        env = make_hand(name.partition("-")[0])
    return gymnasium.wrappers.TimeLimit(env, task.domain.episode_limit)


def OriginalEnv(name: str) -> gymnasium.Env:
    """D4RL's own environment, which has the interface of gym 0.21, as one of gymnasium.

    Its limit on episodes is taken off, so that an end it reports is a termination; `make_env` sets it again.
    """
    import d4rl  # noqa: F401  (registers the environments)
    import gym
    import gymnasium

    class Original(gymnasium.Env):
        """See `OriginalEnv`."""

        def __init__(self) -> None:
            self.inner = gym.make(name).unwrapped
            shapes = self.inner.observation_space.shape, self.inner.action_space.shape
            self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, shapes[0], np.float64)
            self.action_space = gymnasium.spaces.Box(-1.0, 1.0, shapes[1], np.float32)
            self.held = 0

        def reset(self, *, seed: int | None = None, options: dict | None = None):
            super().reset(seed=seed)
            if seed is not None:
                self.inner.seed(seed)  # the mazes draw their goal from numpy's global generator instead
            self.held = 0
            return self.inner.reset(), {}

        def step(self, action):
            observation, reward, done, info = self.inner.step(action)
            if name.startswith("antmaze-"):
                return observation, reward, done, False, {"success": float(reward > 0)}
            self.held += bool(info["goal_achieved"])
            return observation, reward, done, False, {"success": float(self.held > held_for(name))}

    return Original()


def import_h5py() -> Any:
    """h5py, which D4RL's data alone needs. Raises a UserError that says how to install it."""
    try:
        import h5py
    except ImportError:
        raise UserError("D4RL's files need h5py: pip install -r requirements-d4rl.txt") from None
    return h5py
