"""D4RL's antmaze and adroit tasks: addresses of their data, reference scores, and the best environment to be had.

The original environments need mujoco_py and MuJoCo 2.1.0, which most machines cannot install any more. In order:

1. `ORIGINAL`: the `d4rl` package's own, where mujoco_py and MuJoCo 2.1.0 are installed;
2. `ANT`: for antmaze, D4RL's mazes around OGBench's ant, on the current MuJoCo (`envs.d4rl.antmaze`);
3. `HAND`: for adroit, gymnasium-robotics' hand with D4RL's rewards, terminations and limits (`envs.d4rl.adroit`).

Which one it was is in every record and is printed with every table. Facts are from D4RL's code (Farama-Foundation/D4RL,
commit 89141a68): `locomotion/__init__.py`, `hand_manipulation_suite/__init__.py`, `infos.py`; how a file becomes
transitions is from its `qlearning_dataset` and from FQL's use of it (arXiv 2502.02538).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmark.common.errors import UserError
from envs.d4rl.environments import dataset_rewards, import_h5py, is_maze
from envs.data.arrays import check_claim, check_flags, check_lengths, check_numbers, check_within
from envs.tasks import Task


def read_rows(task: Task, path: Path) -> dict[str, np.ndarray]:
    """Read an original HDF5 file as transitions: observations, actions, next_observations, rewards, masks, terminals.

    As D4RL does, the row at which an episode is cut is left out (its successor is another episode's start), and masks
    are 0 where the file has a terminal. As FQL does, a trajectory ends (terminals 1) where the next row does not
    continue it; in adroit at a terminal too, whereas a maze's trajectory goes on past its goal. Rewards take the form
    of `dataset_rewards`.

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
        "rewards": dataset_rewards(task, content["rewards"].reshape(count)[kept].astype(np.float32)),
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


def check_structure(path: Path) -> dict[str, int]:
    """{"rows", "observation_dim", "action_dim"} of a whole HDF5 file. Raises as `_arrays`."""
    content = _arrays(path)
    dims = {"observation_dim": content["observations"].shape[1], "action_dim": content["actions"].shape[1]}
    return {"rows": len(content["rewards"]), **dims}
