"""Datasets on the device, and the two ways of drawing batches from them.

A dataset is stored once: observations of all rows (the last row of a trajectory, which has no action, included) and
everything else per transition. Next observations are the following row. Transition i of trajectory n is observation
row i + n, since every earlier trajectory has one row more than it has transitions.
"""

from __future__ import annotations

import contextlib
import functools
import zipfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax import Array

from agents.transitions import Transitions
from benchmark.common.errors import UserError
from envs.d4rl import data as d4rl
from envs.data.arrays import UNREADABLE, check_flags, check_lengths, check_within, head_in, read_head
from envs.data.environment import env_name
from envs.data.samplers import SAMPLERS
from envs.family import family_of
from envs.files.local import REQUIRED
from envs.tasks import Task


@struct.dataclass
class Dataset(Transitions):
    """N transitions of T trajectories. All trajectories have at least one transition."""

    observations: Array
    """(N + T, O) float32."""
    actions: Array
    """(N, d) float32 in [-1, 1]."""
    rewards: Array
    """(N,) float32."""
    masks: Array
    """(N,) bool: False where the observed state already solves the task."""
    trajectory: Array
    """(N,) int32: the trajectory of each transition."""
    first: Array
    """(T,) int32: its first transition."""
    last: Array
    """(T,) int32: its last transition."""
    candidates: Array
    """(C,) int32: trajectories of at least two transitions, from which `sample_trajectories` starts."""

    @property
    def size(self) -> int:
        """Number of transitions, N."""
        return self.actions.shape[0]

    @property
    def nbytes(self) -> int:
        """Bytes on the device."""
        return sum(array.nbytes for array in jax.tree.leaves(self))

    @property
    def observation_dim(self) -> int:
        """O."""
        return self.observations.shape[1]

    @property
    def action_dim(self) -> int:
        """d."""
        return self.actions.shape[1]

    def trajectory_of(self, index):
        """See `Transitions`, as of those below."""
        return self.trajectory[index]

    def last_of(self, trajectory):
        return self.last[trajectory]

    def at(self, name, index, trajectory=None):
        if not name.endswith("observations"):
            return getattr(self, name)[index]
        trajectory = self.trajectory[index] if trajectory is None else trajectory
        return self.observations[index + (name == "next_observations") + trajectory]

    def draw(self, sampler, *arguments):
        return SAMPLERS[sampler](self, *arguments)


# ---------------------------------------------------------------------------------------------------- loading


def from_transitions(observations, actions, rewards, masks, terminals, next_observations) -> Dataset:
    """Build a dataset from N transitions as OGBench's loader gives them (`terminals` 1 at a trajectory's last).

    Only the next observations of last transitions are kept; the others are the following row.
    """
    last = np.flatnonzero(np.asarray(terminals) > 0)
    rows = np.insert(np.asarray(observations, np.float32), last + 1, next_observations[last], axis=0)
    return _from_rows(rows, actions, rewards, masks, last)


def _from_rows(observations, actions, rewards, masks, last) -> Dataset:
    """Build a dataset from the observations of all rows (N + T, O), N transitions, and each trajectory's last, (T,)."""
    if len(actions) == 0 or len(last) == 0 or last[-1] != len(actions) - 1:
        raise UserError("a dataset must end with the end of a trajectory (terminals = 1 in its last row)")
    first = np.concatenate([[0], last[:-1] + 1])
    return Dataset(
        observations=jnp.asarray(observations, jnp.float32),
        actions=jnp.asarray(actions, jnp.float32),
        rewards=jnp.asarray(rewards, jnp.float32),
        masks=jnp.asarray(np.asarray(masks) > 0),
        trajectory=jnp.asarray(np.repeat(np.arange(len(last)), last - first + 1), jnp.int32),
        first=jnp.asarray(first, jnp.int32),
        last=jnp.asarray(last, jnp.int32),
        candidates=jnp.asarray(np.flatnonzero(last > first), jnp.int32),
    )


def load(
    task: Task, path: Path, env, *, clip_actions: bool = True, sampler: str = "sequences", chunk_length: int = 1
) -> Dataset:
    """Load a file of OGBench's for a task, relabelled with the task's goal as OGBench does it.

    Rewards take the form of `Family.dataset_rewards`; actions are clipped to ±(1 - 1e-5) unless `clip_actions` is
    False (as the authors' code leaves those of the 100M files, which then must lie in [-1, 1]). Raises a UserError for
    a file that is missing, damaged, or of another environment, for numbers that cannot be learned from, and where no
    trajectory is as long as the sampler's chunks. `env` is the task's environment (it knows the goal).
    """
    needed = goal_arrays(task)
    rows = read_rows(path, needed)
    with _refused(path):
        _check_shapes(task, rows, env, needed)
        if not clip_actions:
            check_within("actions", rows["actions"], 1 + 1e-5)
        data = _relabelled(task, rows, env, clip_actions)
    check_chunks(data, sampler, chunk_length, str(path))
    return data


def load_d4rl(task: Task, path: Path, env, *, sampler: str = "sequences", chunk_length: int = 1) -> Dataset:
    """Load one of D4RL's files as it does itself; as `load` in all else, actions always clipped."""
    rows = d4rl.read_rows(task, path)
    with _refused(path):
        _check_shapes(task, rows, env, ())
        data = from_transitions(**rows | {"actions": _clipped(rows["actions"], True)})
    check_chunks(data, sampler, chunk_length, str(path))
    return data


@contextlib.contextmanager
def _refused(path: Path) -> Iterator[None]:
    """What is wrong with a file's numbers, as a UserError that names the file."""
    try:
        yield
    except ValueError as error:
        raise UserError(f"{path} cannot be used: {error}") from error


def _relabelled(task: Task, rows: dict[str, np.ndarray], env, clip_actions: bool) -> Dataset:
    """The rows of an OGBench file as a dataset with the task's rewards."""
    from ogbench.relabel_utils import relabel_dataset  # noqa: PLC0415  (loads MuJoCo, which toys do without)

    check_flags("terminals", rows["terminals"])
    transitions, kept, last = split_rows(rows["terminals"])
    relabelled = {name: rows[name][transitions] for name in GOAL_ARRAYS if name in rows}
    relabel_dataset(env_name(task), env, relabelled)
    rewards = family_of(task).dataset_rewards(task, relabelled["rewards"])
    actions = _clipped(rows["actions"][transitions], clip_actions)
    return _from_rows(rows["observations"][kept], actions, rewards, relabelled["masks"], last)


def _check_shapes(task: Task, rows: dict[str, np.ndarray], env, needed: Sequence[str]) -> None:
    """Raise a ValueError that names the arrays which have other columns than the environment's."""
    columns = {"observations": env.observation_space.shape[-1], "actions": env.action_space.shape[-1]}
    if needed:
        env.reset()  # before it the simulator has no model
        sizes = {"qpos": lambda: env.unwrapped.model.nq, "button_states": lambda: env.unwrapped._num_buttons}
        columns |= {name: sizes[name]() for name in needed}
    odd = [name for name, count in columns.items() if rows[name].shape[1:] != (count,)]
    if odd:
        raise ValueError(
            "; ".join(f"{name} has shape {rows[name].shape}, not (rows, {columns[name]})" for name in odd)
            + f": it belongs to another environment than {task.name}"
        )
    if rows["terminals"].ndim != 1:
        raise ValueError(f"terminals has shape {rows['terminals'].shape}, not (rows,)")


def check_chunks(data: Dataset, sampler: str, chunk_length: int, source: str) -> None:
    """Raise a UserError where no trajectory is as long as a chunk: nothing would be learned, with a loss of 0."""
    longest = int((data.last - data.first).max()) + 1
    if chunk_length > longest:
        raise UserError(
            f"chunk_length {chunk_length} is longer than every trajectory of {source}: the longest has {longest} "
            "transitions"
        )
    if sampler == "trajectories" and longest == 1:  # it starts at any transition but a trajectory's last
        raise UserError(f"no trajectory of {source} has more than one transition, and two are needed to draw from it")


def _clipped(actions: np.ndarray, clip: bool) -> np.ndarray:
    return np.clip(actions, -1 + 1e-5, 1 - 1e-5) if clip else actions


def split_rows(terminals: np.ndarray) -> tuple[np.ndarray | slice, np.ndarray | slice, np.ndarray]:
    """What an OGBench file's `terminals` (1 at each trajectory's last state, which has no action) say of its rows.

    Returns the rows that are transitions, the rows of trajectories with at least one transition (a slice of all rows
    where there are no others), and the number of each trajectory's last transition. Raises a ValueError where the last
    row ends no trajectory, or every row ends one.
    """
    ends = np.asarray(terminals) > 0
    if not len(ends) or not ends[-1]:
        none = "" if ends.any() else " and no other row does"
        raise ValueError(f"its last row does not end a trajectory (terminals is 0 in row {len(ends) - 1}{none})")
    if ends.all():
        raise ValueError("it has no transition (terminals is 1 in every row)")
    follows = np.append(False, ~ends[:-1])
    kept = slice(None) if follows[ends].all() else ~ends | follows
    return ~ends, kept, np.flatnonzero(np.append(ends[1:], True)[~ends])


READ_AT_ONCE = 1 << 22
"""Bytes of an array decompressed at a time."""
GOAL_ARRAYS = ("qpos", "button_states")
"""What OGBench judges by whether a row solves a task."""


def goal_arrays(task: Task) -> tuple[str, ...]:
    """Those of `GOAL_ARRAYS` that OGBench judges a task's rows by."""
    family = task.domain.name.split("-")[0]
    return {"puzzle": ("button_states",), "scene": GOAL_ARRAYS}.get(family, ("qpos",))


def read_rows(path: Path, needed: Sequence[str] | None = None) -> dict[str, np.ndarray]:
    """Read the arrays of an OGBench file that training needs, a row per state, or say in a UserError what is wrong.

    `needed`: the `GOAL_ARRAYS` that must be there (default: those that are). What the file claims is compared with its
    size before memory is taken. Each array is read by a thread of its own: most of the time is decompression.
    """
    if not path.is_file():
        raise UserError(f"no dataset at {path}")
    try:
        with zipfile.ZipFile(path) as archive:
            there = {name.removesuffix(".npy") for name in archive.namelist()}
            goals = [name for name in GOAL_ARRAYS if name in there] if needed is None else needed
            wanted = [*REQUIRED, *goals]
            absent = [name for name in wanted if name not in there]
            if absent:
                raise UserError(f"{path} is not an OGBench dataset: no {', '.join(absent)} in it")
            check_lengths({name: head_in(archive, name).shape for name in wanted})
        with ThreadPoolExecutor(len(wanted)) as threads:
            return dict(zip(wanted, threads.map(functools.partial(_read_array, path), wanted), strict=True))
    except UNREADABLE as error:
        raise UserError(f"{path} is damaged or incomplete ({error}): delete it and fetch it again") from error
    except ValueError as error:
        raise UserError(f"{path} cannot be used: {error}") from error


def _read_array(path: Path, name: str) -> np.ndarray:
    """One array of an npz file, read with other threads reading others, in this machine's order of bytes."""
    with zipfile.ZipFile(path) as archive, archive.open(f"{name}.npy") as member:
        head = read_head(name, member)
        array = np.empty(head.shape, head.dtype, order="F" if head.fortran_order else "C")
        space = array.reshape(-1, order="A").view(np.uint8)
        for start in range(0, len(space), READ_AT_ONCE):
            wanted = space[start : start + READ_AT_ONCE]
            part = member.read(len(wanted))
            if len(part) < len(wanted):
                raise EOFError(f"{name} ends early")
            wanted[:] = np.frombuffer(part, np.uint8)
        if member.read(1):
            raise ValueError(f"{name} is longer than its header says")
    check_within(name, array)
    return array if head.dtype.isnative else array.astype(head.dtype.newbyteorder("="))
