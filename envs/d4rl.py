"""D4RL's antmaze and adroit tasks: addresses of their data, reference scores, and the best environment to be had.

The original environments need mujoco_py and MuJoCo 2.1.0, which most machines cannot install any more. In order:

1. `ORIGINAL`: the `d4rl` package's own, where mujoco_py and MuJoCo 2.1.0 are installed;
2. `ANT`: for antmaze, D4RL's mazes around OGBench's ant, on the current MuJoCo (`envs.d4rl_antmaze`);
3. `HAND`: for adroit, gymnasium-robotics' hand with D4RL's rewards, terminations and limits (`envs.d4rl_adroit`).

Which one it was is in every record and is printed with every table. Facts are from D4RL's code (Farama-Foundation/D4RL,
commit 89141a68): `locomotion/__init__.py`, `hand_manipulation_suite/__init__.py`, `infos.py`; how a file becomes
transitions is from its `qlearning_dataset` and from FQL's use of it (arXiv 2502.02538).
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmark.errors import UserError
from envs.arrays import check_claim, check_flags, check_lengths, check_numbers, check_within
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
        from envs.d4rl_antmaze import MazeAnt

        env = MazeAnt(name.split("-")[1])
    else:
        check_installed(task)
        from envs.d4rl_adroit import make_hand

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


def held_for(name: str) -> int:
    """Steps at adroit's goal that D4RL calls a success when there are more: 20 for the pen, 25 for the others."""
    return 20 if name.startswith("pen") else 25


def read_rows(task: Task, path: Path) -> dict[str, np.ndarray]:
    """Read an original HDF5 file as transitions: observations, actions, next_observations, rewards, masks, terminals.

    As D4RL does, the row at which an episode is cut is left out (its successor is another episode's start), and masks
    are 0 where the file has a terminal. As FQL does, a trajectory ends (terminals 1) where the next row does not
    continue it; in adroit at a terminal too, whereas a maze's trajectory goes on past its goal. A maze's rewards are
    lowered by 1, to -1 and 0.

    Raises:
        UserError: no such file, h5py is not installed, or it is not such a file.
    """
    content = _read_file(path)
    count = len(content["rewards"])
    observations = content["observations"].astype(np.float32)
    done = content["terminals"].reshape(count).astype(bool)
    cut = content["timeouts"].reshape(count).astype(bool) if "timeouts" in content else _cuts(done, task)
    kept = np.flatnonzero(~cut[:-1])
    if not len(kept):
        raise UserError(f"{path} has no transition")
    following = observations[kept + 1]
    breaks = np.append(np.linalg.norm(observations[kept[1:]] - following[:-1], axis=1) > 1e-6, True)
    maze = is_maze(task)
    return {
        "observations": observations[kept],
        "actions": content["actions"][kept].astype(np.float32),
        "next_observations": following,
        "rewards": content["rewards"].reshape(count)[kept].astype(np.float32) - (1.0 if maze else 0.0),
        "masks": 1.0 - done[kept].astype(np.float32),
        "terminals": (breaks if maze else breaks | done[kept]).astype(np.float32),
    }


def _cuts(done: np.ndarray, task: Task) -> np.ndarray:
    """Where a file without 'timeouts' cuts its episodes: at the limit, counted from each end."""
    cut, length = np.zeros(len(done), bool), 0
    for i, ended in enumerate(done):
        cut[i] = length == task.domain.episode_limit - 1
        length = 0 if ended or cut[i] else length + 1
    return cut


def _read_file(path: Path) -> dict[str, np.ndarray]:
    """The arrays that transitions need; a UserError that names the file where they cannot be had."""
    if not path.is_file():
        raise UserError(f"no dataset at {path}")
    try:
        return _arrays(path)
    except (OSError, EOFError) as error:
        raise UserError(f"{path} is damaged or no HDF5 file ({error}): delete it and fetch it again") from error
    except ValueError as error:
        raise UserError(f"{path} is not a D4RL dataset: {error}") from error


def _arrays(path: Path) -> dict[str, np.ndarray]:
    """Read the arrays that transitions need, and check that they fit each other and hold finite numbers.

    Raises:
        OSError, EOFError: the file cannot be read to its end. ValueError: it can, and is not such a file.
    """
    h5py = import_h5py()
    wanted = ("observations", "actions", "rewards", "terminals")
    try:
        with h5py.File(path) as file:
            absent = [name for name in wanted if name not in file]
            if absent:
                raise ValueError(f"no {', '.join(absent)} in it")
            found = {name: file[name] for name in (*wanted, "timeouts") if name in file}
            for name, array in found.items():
                if not isinstance(array, h5py.Dataset):
                    raise ValueError(f"{name} is not an array")
                check_numbers(name, array.dtype, array.shape)
                columns = 2 if name in ("observations", "actions") else 1
                if array.ndim != columns and not (columns == 1 and array.shape[1:] == (1,)):
                    raise ValueError(f"{name} has shape {array.shape}, not (rows{', columns' if columns == 2 else ''})")
                stored = min(array.id.get_storage_size(), path.stat().st_size)
                check_claim(name, array.nbytes, array.nbytes if array.chunks else stored, stored)
            check_lengths({name: array.shape for name, array in found.items()})
            content = {name: array[()] for name, array in found.items()}
    except (RuntimeError, KeyError) as error:  # as h5py says it where the structure of a file is damaged
        raise OSError(str(error)) from error
    for name in ("terminals", "timeouts"):
        if name in content:
            check_flags(name, content[name].reshape(-1))
    for name in ("observations", "actions", "rewards"):
        check_within(name, content[name])
    return content


def import_h5py() -> Any:
    """h5py, which D4RL's data alone needs. Raises a UserError that says how to install it."""
    try:
        import h5py
    except ImportError:
        raise UserError("D4RL's files need h5py: pip install -r requirements-d4rl.txt") from None
    return h5py


def check_structure(path: Path) -> dict[str, int]:
    """{"rows", "observation_dim", "action_dim"} of a whole HDF5 file. Raises as `_arrays`."""
    content = _arrays(path)
    dims = {"observation_dim": content["observations"].shape[1], "action_dim": content["actions"].shape[1]}
    return {"rows": len(content["rewards"]), **dims}
