"""Generate datasets with OGBench's scripted oracles, in parallel, reproducibly, in OGBench's file format.

    python -m envs.generate --dataset=cube-single-play --transitions=100000 --seed=0

writes to `runs/data/` the training file `cube-single-play-v0.npz`, the validation file
`cube-single-play-v0-val.npz` (a tenth as many episodes), and beside each a `.json` that says what made it. The
files load through `ogbench.make_env_and_datasets(name, dataset_path=...)`.

The recipes (environments, oracles, noise, episode lengths, scene's health check) are those with which
OGBench's published files were made, so a generated file is drawn from the same distribution. Unlike there,
every episode is a function of (seed, shard, split, episode index) alone: the number of processes, and the
episodes that a process made before, do not matter. The numbers depend on MuJoCo's version, which the record
names.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import datetime
import hashlib
import importlib.metadata
import io
import json
import multiprocessing
import os
import signal
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from benchmark.errors import UserError, check_choice, run_main
from envs.files import is_verified, read_record, record_path

DEFAULT_DIR = Path("runs/data")
EXPERT_BODIES = ("antmaze", "humanoidmaze", "antsoccer")
SHARDS_100M = 100
SHARDS_NOTE = "shards.json"  # in a folder of generated shards: how many there are to be
DTYPES = {"terminals": np.bool_, "button_states": np.int64}  # everything else is float32
TRAIN, VALIDATION = 0, 1
PLAN_NOISE, PLAN_SMOOTHING = 0.1, 0.5  # play: correlated noise on the planned path
MARKOV_NOISE, MARKOV_MIN_NORM = (
    0.1,
    0.4,
)  # noisy: the largest action noise of an episode, and the oracle's least step
NOISE_SCALE = np.array([1.0, 1.0, 1.0, 3.0, 10.0])  # of the noisy actions: x, y, z, yaw, gripper
POINT_NOISE = 0.5
STITCH_CELLS = 4  # how far the goal of a stitch episode lies from its start

Episode = dict[str, np.ndarray]


@dataclass(frozen=True)
class Recipe:
    """How one published dataset was collected."""

    env_id: str
    """Gymnasium name of the goal-conditioned environment."""
    style: str
    """'play' or 'noisy' (manipulation), 'navigate' or 'stitch' (pointmaze)."""
    episodes: int
    """Training episodes in the published file; it has a tenth as many for validation."""
    episode_length: int = 1001
    """Rows per episode. The last has no next observation, so an episode has one transition less."""
    random_action: float = 0.0
    """Probability that a step's action is uniformly random instead of the oracle's."""
    stacking: tuple[float, float] = (0.5, 0.5)
    """Range from which an episode draws its probability of a target on top of another cube."""


def _recipes() -> dict[str, Recipe]:
    recipes = {}
    cubes = {
        "single": (1000, (0.0, 0.0)),
        "double": (1000, (0.0, 0.25)),
        "triple": (3000, (0.05, 0.35)),
        "quadruple": (5000, (0.1, 0.5)),
    }
    boards = {"3x3": 1000, "4x4": 1000, "4x5": 3000, "4x6": 5000}
    for style, cube_random, puzzle_random in (("play", 0.0, 0.0), ("noisy", 0.1, 0.2)):
        for count, (episodes, stacking) in cubes.items():
            recipes[f"cube-{count}-{style}"] = Recipe(
                f"cube-{count}-v0", style, episodes, random_action=cube_random, stacking=stacking
            )
        recipes[f"scene-{style}"] = Recipe("scene-v0", style, 1000, random_action=cube_random)
        for board, episodes in boards.items():
            recipes[f"puzzle-{board}-{style}"] = Recipe(
                f"puzzle-{board}-v0", style, episodes, random_action=puzzle_random
            )
    for size in ("medium", "large", "giant", "teleport"):
        episodes, length = (500, 2001) if size == "giant" else (1000, 1001)
        recipes[f"pointmaze-{size}-navigate"] = Recipe(f"pointmaze-{size}-v0", "navigate", episodes, length)
        recipes[f"pointmaze-{size}-stitch"] = Recipe(f"pointmaze-{size}-v0", "stitch", 5000, 201)
    return recipes


RECIPES: dict[str, Recipe] = _recipes()


def find_recipe(dataset: str) -> Recipe:
    """Return the recipe of a dataset named with or without '-v0'.

    Raises:
        UserError: no such dataset, or one that only a trained expert can collect.
    """
    name = dataset.removesuffix("-v0")
    if name.startswith(EXPERT_BODIES):
        raise UserError(
            f"'{name}' cannot be generated: it was collected by a trained expert policy, and no scripted "
            f"oracle can stand in for it. Download the published file instead: "
            f"python -m envs.download --dataset {name}-v0"
        )
    return RECIPES[check_choice("dataset", name, RECIPES, most=30)]


# One episode


class _Manipulation:
    """An arm that moves cubes, buttons, drawer and window from one random target to the next."""

    def __init__(self, env: Any, recipe: Recipe):
        self.env, self.recipe = env, recipe
        # The environment makes a new, unseeded space at every access: hold one.
        self.action_space = env.action_space

    def oracles(self) -> dict[str, Any]:
        """Fresh oracles by the kind of target they pursue; fresh, because oracles keep state."""
        from ogbench.manipspace.oracles.markov.button_markov import ButtonMarkovOracle
        from ogbench.manipspace.oracles.markov.cube_markov import CubeMarkovOracle
        from ogbench.manipspace.oracles.markov.drawer_markov import DrawerMarkovOracle
        from ogbench.manipspace.oracles.markov.window_markov import WindowMarkovOracle
        from ogbench.manipspace.oracles.plan.button_plan import ButtonPlanOracle
        from ogbench.manipspace.oracles.plan.cube_plan import CubePlanOracle
        from ogbench.manipspace.oracles.plan.drawer_plan import DrawerPlanOracle
        from ogbench.manipspace.oracles.plan.window_plan import WindowPlanOracle

        if self.recipe.style == "play":
            kinds = dict(cube=CubePlanOracle, button=ButtonPlanOracle, drawer=DrawerPlanOracle, window=WindowPlanOracle)
            options: dict[str, Any] = dict(noise=PLAN_NOISE, noise_smoothing=PLAN_SMOOTHING)
        else:
            kinds = dict(
                cube=CubeMarkovOracle,
                button=ButtonMarkovOracle,
                drawer=DrawerMarkovOracle,
                window=WindowMarkovOracle,
            )
            options = dict(min_norm=MARKOV_MIN_NORM)
        family = self.recipe.env_id.split("-")[0]
        if family == "puzzle":
            return {"button": kinds["button"](env=self.env, gripper_always_closed=True, **options)}
        if family == "cube":
            return {"cube": kinds["cube"](env=self.env, **options)}
        return {kind: oracle(env=self.env, **options) for kind, oracle in kinds.items()}

    def rows(self, env_seed: int) -> Iterator[dict[str, Any]]:
        """Yield one episode's rows; random draws come from numpy, the environment and the action space."""
        env, recipe = self.env, self.recipe
        observation, info = env.reset(seed=env_seed)
        stacking = np.random.uniform(*recipe.stacking)
        noise = np.random.uniform(0, MARKOV_NOISE) * NOISE_SCALE if recipe.style == "noisy" else None
        oracles = self.oracles()
        oracle = oracles[info["privileged/target_task"]]
        oracle.reset(observation, info)
        done = False
        while not done:
            if np.random.rand() < recipe.random_action:
                action = self.action_space.sample()
            else:
                action = oracle.select_action(observation, info)
                if noise is not None:
                    action = action + np.random.normal(0, noise)
            action = np.clip(action, -1, 1)
            next_observation, _, terminated, truncated, info = env.step(action)
            done = terminated or truncated
            row = dict(
                observations=observation,
                actions=action,
                terminals=done,
                qpos=info["prev_qpos"],
                qvel=info["prev_qvel"],
            )
            if "prev_button_states" in info:
                row["button_states"] = info["prev_button_states"]
            yield row
            if oracle.done:
                # The next action still sees this step's `info`, as in the published recipe.
                target_observation, target_info = env.unwrapped.set_new_target(p_stack=stacking)
                oracle = oracles[target_info["privileged/target_task"]]
                oracle.reset(target_observation, target_info)
            observation = next_observation

    def healthy(self, episode: Episode) -> bool:
        """Whether scene's cube stays in view (or in the drawer); otherwise goal images would be ambiguous."""
        if not self.recipe.env_id.startswith("scene"):
            return True
        y, z = episode["qpos"][:, 15], episode["qpos"][:, 16]
        lost_left = (y <= -0.3) & ((z < 0.06) | (z > 0.08))
        return not ((y >= 0.29).any() or lost_left.any())


class _PointMaze:
    """A point that walks along shortest paths with noise."""

    def __init__(self, env: Any, recipe: Recipe):
        self.env, self.recipe = env, recipe
        self.action_space = env.action_space
        self.free = {(int(i), int(j)) for i, j in np.argwhere(env.unwrapped.maze_map == 0)}
        self.cells = sorted(self.free)
        self.vertices = [cell for cell in self.cells if not self._in_hallway(cell)]
        self._subgoals: dict[tuple[tuple[int, int], tuple[int, int]], np.ndarray] = {}

    def _in_hallway(self, cell: tuple[int, int]) -> bool:
        i, j = cell
        down, up, left, right = ((i + di, j + dj) in self.free for di, dj in ((1, 0), (-1, 0), (0, -1), (0, 1)))
        return (up and down and not (left or right)) or (left and right and not (up or down))

    def _cells_at_distance(self, start: tuple[int, int], distance: int) -> list[tuple[int, int]]:
        seen, frontier = {start}, {start}
        for _ in range(distance):
            frontier = {
                (i + di, j + dj) for i, j in frontier for di, dj in ((1, 0), (-1, 0), (0, 1), (0, -1))
            } & self.free - seen
            seen |= frontier
        return sorted(frontier)

    def _direction(self) -> np.ndarray:
        """Unit vector (2,) toward the next cell on the shortest path to the goal."""
        maze = self.env.unwrapped
        position, goal = maze.get_xy(), maze.cur_goal_xy
        # A subgoal depends on the two cells only, and searching the maze at every step would be slow.
        key = (maze.xy_to_ij(position), maze.xy_to_ij(goal))
        if key not in self._subgoals:
            self._subgoals[key] = maze.get_oracle_subgoal(position, goal)[0]
        direction = self._subgoals[key] - position
        return direction / (np.linalg.norm(direction) + 1e-6)

    def rows(self, env_seed: int) -> Iterator[dict[str, Any]]:
        """Yield one episode's rows; random draws come from numpy, the environment and the action space."""
        env, maze = self.env, self.env.unwrapped

        def pick(cells: list[tuple[int, int]]) -> tuple[int, int]:
            return cells[np.random.randint(len(cells))]

        start = pick(self.cells)
        if self.recipe.style == "navigate":
            goal = pick(self.vertices)
        else:
            goal = pick(self._cells_at_distance(start, STITCH_CELLS) or [start])
        observation, _ = env.reset(seed=env_seed, options={"task_info": {"init_ij": start, "goal_ij": goal}})
        done = False
        while not done:
            action = np.clip(self._direction() + np.random.normal(0, POINT_NOISE, 2), -1, 1)
            next_observation, _, terminated, truncated, info = env.step(action)
            done = terminated or truncated
            if info["success"] and self.recipe.style == "navigate":
                # By position: set_goal(goal_ij=...) would leave NaN as the place of the goal's marker.
                maze.set_goal(goal_xy=maze.add_noise(maze.ij_to_xy(pick(self.vertices))))
            yield dict(
                observations=observation,
                actions=action,
                terminals=done,
                qpos=info["prev_qpos"],
                qvel=info["prev_qvel"],
            )
            observation = next_observation

    def healthy(self, episode: Episode) -> bool:
        return True


class Collector:
    """Makes episodes of one dataset, one after another, in one environment.

    Each episode depends on its seed only, not on the episodes made before.
    """

    def __init__(self, dataset: str, episode_length: int):
        """Build the environment (seconds, and 160 MB where it has meshes).

        Args:
            dataset: a key of `RECIPES`.
            episode_length: rows per episode.
        """
        _quiet()
        import gymnasium

        recipe = RECIPES[dataset]
        options: dict[str, Any] = dict(
            terminate_at_goal=False, max_episode_steps=episode_length, disable_env_checker=True
        )
        if recipe.env_id.startswith("pointmaze"):
            import ogbench.locomaze

            env: Any = gymnasium.make(recipe.env_id, **options)
            self._script: _Manipulation | _PointMaze = _PointMaze(env, recipe)
        else:
            import ogbench.manipspace  # noqa: F401

            env = gymnasium.make(recipe.env_id, mode="data_collection", **options)
            self._script = _Manipulation(env, recipe)
        env.reset(seed=0)  # The first reset compiles the model.
        self._env = env.unwrapped
        # What a reset leaves as the last episode had it: the model's locks and markers, the environment's targets.
        model = self._env.model
        self._model_fields = {name: getattr(model, name).copy() for name in ("dof_damping", "site_pos", "geom_pos")}
        plain = (bool, int, float, str, np.ndarray, np.generic)
        self._env_fields = {
            name: copy.deepcopy(value) for name, value in vars(self._env).items() if isinstance(value, plain)
        }

    def _restore(self) -> None:
        for name, value in self._model_fields.items():
            getattr(self._env.model, name)[:] = value
        for name, value in self._env_fields.items():
            setattr(self._env, name, copy.deepcopy(value))

    def episode(self, seed: int, shard: int, split: int, index: int) -> Episode:
        """Return one episode.

        Args:
            seed: the dataset's seed.
            shard: number of the file in a sharded dataset, else 0.
            split: `TRAIN` or `VALIDATION`.
            index: the episode's number within its split.

        Returns:
            observations, actions, qpos, qvel (rows, ·) float32, terminals (rows,) bool, and where the
            environment has buttons button_states (rows, buttons) int64.
        """
        attempt = 0
        while True:  # An unhealthy episode is thrown away whole, and the next attempt has a seed of its own.
            sequence = np.random.SeedSequence(seed, spawn_key=(shard, split, index, attempt))
            for_numpy, for_env, for_actions = sequence.spawn(3)
            self._restore()
            np.random.seed(for_numpy.generate_state(8))
            self._script.action_space.seed(_integer(for_actions))
            rows = list(self._script.rows(_integer(for_env)))
            episode: Episode = {
                key: np.array([row[key] for row in rows], dtype=DTYPES.get(key, np.float32)) for key in rows[0]
            }
            if self._script.healthy(episode):
                return episode
            attempt += 1


def _integer(sequence: np.random.SeedSequence) -> int:
    return int(sequence.generate_state(1, np.uint64)[0])


def _quiet() -> None:
    """Silence what importing the simulator says on a machine without a display; nothing is rendered here."""
    warnings.filterwarnings("ignore", message=".*DISPLAY environment variable.*")
    warnings.filterwarnings("ignore", message=".*precision lowered by casting.*")


# Worker processes


def _start_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle.
    parent = multiprocessing.parent_process()
    assert parent is not None

    def follow_parent() -> None:
        parent.join()
        os._exit(1)  # A killed parent would otherwise leave its workers waiting for ever.

    threading.Thread(target=follow_parent, daemon=True).start()


@lru_cache(maxsize=1)
def _collector(dataset: str, episode_length: int) -> Collector:
    return Collector(dataset, episode_length)


def _run_episode(dataset: str, episode_length: int, seed: int, shard: int, split: int, index: int) -> Episode:
    return _collector(dataset, episode_length).episode(seed, shard, split, index)


def _collect(
    dataset: str,
    episode_length: int,
    seed: int,
    shard: int,
    counts: tuple[int, int],
    workers: int,
    advance: Callable[[], None],
) -> tuple[Episode, Episode]:
    """Return the training and the validation arrays: `counts` episodes of each, end to end."""
    splits: tuple[Episode, Episode] = ({}, {})
    # Spawned, never forked: the caller may have JAX's threads running.
    pool = ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"), initializer=_start_worker)
    try:
        futures = {
            pool.submit(_run_episode, dataset, episode_length, seed, shard, split, index): (split, index)
            for split, count in enumerate(counts)
            for index in range(count)
        }
        for future in as_completed(futures):
            split, index = futures.pop(future)
            for key, value in future.result().items():
                rows = len(value)
                if key not in splits[split]:
                    splits[split][key] = np.empty((counts[split] * rows, *value.shape[1:]), value.dtype)
                splits[split][key][index * rows : (index + 1) * rows] = value
            advance()
    except BrokenProcessPool as error:
        raise RuntimeError(
            f"a process that was generating {dataset} died (out of memory? there were {workers}; try fewer "
            f"--workers); nothing was written"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)
    return splits


# Files


def validation_path(path: Path) -> Path:
    """Return where the validation file of a training file lies, by OGBench's rule."""
    return path.with_name(f"{path.stem}-val.npz")


def _versions() -> dict[str, str]:
    return {name: importlib.metadata.version(name) for name in ("ogbench", "mujoco", "gymnasium", "numpy")}


def _write(path: Path, splits: tuple[Episode, Episode], record: dict[str, Any]) -> None:
    """Write both files and their records under passing names, then rename them, the training file last.

    Uncompressed: the numbers hardly compress (to 86%), and reading is six times as fast.
    """
    with contextlib.ExitStack() as undo:
        finished = []

        @contextlib.contextmanager
        def draft(target: Path) -> Iterator[io.BufferedRandom]:
            handle, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".tmp", dir=path.parent)
            undo.callback(Path(name).unlink, missing_ok=True)
            os.fchmod(handle, 0o644)
            finished.append((name, target))
            with os.fdopen(handle, "w+b") as file:
                yield file
                file.flush()
                os.fsync(handle)

        for target, arrays in ((validation_path(path), splits[VALIDATION]), (path, splits[TRAIN])):
            with draft(target) as file:
                np.savez(file, **arrays)  # type: ignore[arg-type]
                file.seek(0)
                facts = {
                    "size": os.fstat(file.fileno()).st_size,
                    "sha256": hashlib.file_digest(file, "sha256").hexdigest(),
                    "rows": len(arrays["terminals"]),
                    "observation_dim": arrays["observations"].shape[1],
                    "action_dim": arrays["actions"].shape[1],
                }
            with draft(record_path(target)) as file:
                file.write(json.dumps({**record, **facts}, indent=1).encode() + b"\n")
        finished.sort(key=lambda pair: pair[1] == path)
        for name, target in finished:
            os.replace(name, target)


def _already_made(path: Path, asked: dict[str, Any]) -> bool:
    """Whether `path` holds just what was asked; a UserError if it holds anything else."""
    if not path.exists():
        return False
    hint = "move it away, choose another --out, or pass --overwrite"
    record = read_record(path) if is_verified(path) else None
    if record is None or record.get("source") != "generated":
        raise UserError(f"{path} exists and is not a whole file that was generated here; {hint}")
    different = [key for key, value in asked.items() if record.get(key) != value]
    if different:
        listed = ", ".join(f"{key} {record.get(key)} (asked: {asked[key]})" for key in different)
        raise UserError(f"{path} exists with {listed}; {hint}")
    return is_verified(validation_path(path))


def _check_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UserError(f"cannot write to {folder}: {error.strerror}") from None


def _check_least(what: str, value: int, least: int) -> None:
    if not isinstance(value, int) or value < least:
        raise UserError(f"{what} must be a whole number of at least {least}, got {value!r}")


def available_cores() -> int:
    """Return how many cores this process may use (a job's share, not the machine's total)."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def generate(
    dataset: str,
    transitions: int | None,
    seed: int,
    path: Path,
    workers: int | None = None,
    progress: bool = True,
    episode_length: int | None = None,
    shard: int = 0,
    overwrite: bool = False,
) -> Path:
    """Generate a dataset into `path` and its '-val.npz', with a '.json' beside each; return `path`.

    A file that was made with the same arguments and versions is kept as it is. The processes are spawned, so
    the caller's main module must be importable without side effects (`if __name__ == "__main__"`).

    Args:
        dataset: a key of `RECIPES`, with or without '-v0'.
        transitions: training transitions; whole episodes are made, so there may be up to one episode more.
            None is the size of the published file.
        seed: at least 0; with `shard` it fixes every number.
        path: the training file, ending in '.npz'.
        workers: processes; None is one for each core that this process may use.
        progress: whether to show progress on stderr.
        episode_length: rows per episode; None is the published recipe's.
        shard: number of the file in a sharded dataset; shard 0 equals the unsharded file.
        overwrite: replace a file that was made otherwise instead of refusing.

    Raises:
        UserError: a bad argument, no write permission, or another file at `path`.
        RuntimeError: a worker process died.
    """
    recipe = find_recipe(dataset)
    name = dataset.removesuffix("-v0")
    length = recipe.episode_length if episode_length is None else episode_length
    _check_least("episode length", length, 2)
    transitions = recipe.episodes * (length - 1) if transitions is None else transitions
    _check_least("transitions", transitions, 1)
    _check_least("seed", seed, 0)
    workers = available_cores() if workers is None else workers
    _check_least("workers", workers, 1)
    path = Path(path)
    if path.suffix != ".npz" or path.name.endswith("-val.npz"):
        raise UserError(f"the output file must end in .npz (and not in -val.npz), got '{path}'")
    asked = {
        "dataset": f"{name}-v0",
        "transitions_asked": transitions,
        "seed": seed,
        "shard": shard,
        "episode_length": length,
        "versions": _versions(),
    }
    if not overwrite and _already_made(path, asked):
        return path
    _check_folder(path.parent)

    train_episodes = -(-transitions // (length - 1))
    counts = (train_episodes, max(1, train_episodes // 10))
    start = time.monotonic()
    with _progress_bar(f"{path.name}", sum(counts), progress) as advance:
        splits = _collect(name, length, seed, shard, counts, min(workers, sum(counts)), advance)
    seconds = time.monotonic() - start
    record = {
        **asked,
        "source": "generated",
        "recipe": vars(recipe),
        "episodes": {"train": counts[0], "validation": counts[1]},
        "transitions": counts[0] * (length - 1),
        "python": sys.version.split()[0],
        "workers": workers,
        "seconds": round(seconds, 1),
        "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }
    _write(path, splits, record)
    if progress:
        rate = sum(counts) * (length - 1) / seconds
        print(f"{path}: {record['transitions']} transitions in {seconds:.0f} s ({rate:.0f}/s)", file=sys.stderr)
    return path


@contextlib.contextmanager
def _progress_bar(what: str, episodes: int, show: bool) -> Iterator[Callable[[], None]]:
    """Show a bar with an estimate on a terminal, one line elsewhere; yield what advances it by an episode."""
    if not (show and sys.stderr.isatty()):
        if show:
            print(f"generating {what}: {episodes} episodes", file=sys.stderr)
        yield lambda: None
        return
    from rich.console import Console

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("episodes"))
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True)) as bar:
        task = bar.add_task(f"generating {what}", total=episodes)
        yield lambda: bar.advance(task)


def generate_shards(
    dataset: str,
    shards: int,
    transitions_per_shard: int | None,
    seed: int,
    folder: Path,
    workers: int | None = None,
    progress: bool = True,
    episode_length: int | None = None,
    overwrite: bool = False,
) -> Path:
    """Generate a dataset of several files, the form of the 100M datasets; return its folder.

    `<folder>/<dataset>-100m-v0/` holds `<dataset>-v0-000.npz`, `<dataset>-v0-000-val.npz`, and so on. A shard
    that is there already is kept, so an interrupted generation goes on where it was. Arguments and errors as in
    `generate`; transitions_per_shard None is the published 1000 episodes.
    """
    find_recipe(dataset)
    _check_least("shards", shards, 1)
    name = dataset.removesuffix("-v0")
    length = RECIPES[name].episode_length if episode_length is None else episode_length
    transitions = 1000 * (length - 1) if transitions_per_shard is None else transitions_per_shard
    target = Path(folder) / f"{name}-100m-v0"
    _check_folder(target)
    _note_shards(target, shards)
    for shard in range(shards):
        path = target / f"{name}-v0-{shard:03d}.npz"
        generate(dataset, transitions, seed, path, workers, progress, episode_length, shard, overwrite)
    return target


def _note_shards(folder: Path, shards: int) -> None:
    """Write down how many files the folder is to have, so that one with fewer is known to be incomplete."""
    (folder / SHARDS_NOTE).write_text(json.dumps({"source": "generated", "shards": shards}) + "\n")


def shards_made(folder: Path) -> int | None:
    """Return how many files were to be generated into a folder of shards; None where none were."""
    try:
        return int(json.loads((folder / SHARDS_NOTE).read_text())["shards"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def main(arguments: list[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m envs.generate",
        description="Generate a dataset with OGBench's scripted oracles.",
        epilog=f"datasets: {', '.join(RECIPES)}",
    )
    parser.add_argument("--dataset", required=True, help="e.g. cube-single-play")
    parser.add_argument("--transitions", type=int, help="training transitions (default: as many as published)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--out", type=Path, default=DEFAULT_DIR, help="folder, or file ending in .npz (default: runs/data)"
    )
    parser.add_argument("--workers", type=int, help="processes (default: one for each core)")
    parser.add_argument("--episode-length", type=int, help="rows per episode (default: as published)")
    parser.add_argument("--shards", type=int, help="number of files, for the form of the 100M datasets")
    parser.add_argument(
        "--transitions-per-shard", type=int, help="with --shards (default: 1000 episodes, as published)"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace a file that was made otherwise")
    args = parser.parse_args(arguments)

    dataset, shards = args.dataset.removesuffix("-v0"), args.shards
    if dataset.endswith("-100m"):
        dataset, shards = dataset.removesuffix("-100m"), shards or SHARDS_100M
    common = dict(workers=args.workers, episode_length=args.episode_length, overwrite=args.overwrite)
    is_file = args.out.suffix == ".npz"
    if shards is not None:
        if args.transitions is not None:
            raise UserError("--transitions is for a single file; with shards pass --transitions-per-shard")
        if is_file:
            raise UserError(f"with shards --out is a folder, got the file '{args.out}'")
        written = generate_shards(dataset, shards, args.transitions_per_shard, args.seed, args.out, **common)
    else:
        if args.transitions_per_shard is not None:
            raise UserError("--transitions-per-shard needs --shards")
        path = args.out if is_file else args.out / f"{dataset}-v0.npz"
        written = generate(dataset, args.transitions, args.seed, path, **common)
    print(written)


if __name__ == "__main__":
    run_main(main)
