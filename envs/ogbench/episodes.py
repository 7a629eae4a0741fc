"""Episodes of OGBench's oracles, scripted or trained: the recipes of the published datasets, and what plays them.

The recipes (environments, oracles, noise, episode lengths, scene's health check) are those with which OGBench's
published files were made; the experts that walk in mazes are our own (`envs.experts`). Unlike there, every episode is a
function of (seed, shard, split, episode index) alone: the episodes that a process made before do not matter.
`envs.generate` makes files of them.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.common.errors import UserError, check_choice
from envs.data.temporary import models_removed
from envs.experts.policy import EXPERTS, Expert, read_expert
from envs.files.local import OGBENCH, dataset_names

DTYPES = {"terminals": np.bool_, "reached": np.bool_, "button_states": np.int64}  # everything else is float32
TRAIN, VALIDATION = 0, 1
PLAN_NOISE, PLAN_SMOOTHING = 0.1, 0.5  # play: correlated noise on the planned path
MARKOV_NOISE, MARKOV_MIN_NORM = 0.1, 0.4  # noisy: an episode's largest action noise, and the oracle's least step
NOISE_SCALE = np.array([1.0, 1.0, 1.0, 3.0, 10.0])  # of the noisy actions: x, y, z, yaw, gripper
POINT_NOISE, WALKER_NOISE, EXPLORE_NOISE = 0.5, 0.2, 1.0  # of the actions in mazes
STITCH_CELLS = 4  # how far the goal of a stitch episode lies from its start
EXPLORE_STEPS = 10  # after which the direction of an explore episode is drawn anew

Episode = dict[str, np.ndarray]


@dataclass(frozen=True)
class Recipe:
    """How one published dataset was collected."""

    env_id: str
    """Gymnasium name of the goal-conditioned environment."""
    style: str
    """'play' or 'noisy' (manipulation), 'navigate', 'stitch' or 'explore' (mazes)."""
    episodes: int
    """Training episodes in the published file; it has a tenth as many for validation."""
    episode_length: int = 1001
    """Rows per episode. The last has no next observation, so an episode has one transition less."""
    random_action: float = 0.0
    """Probability that a step's action is uniformly random instead of the oracle's."""
    stacking: tuple[float, float] = (0.5, 0.5)
    """Range from which an episode draws its probability of a target on top of another cube."""
    noise: float = 0.0
    """Standard deviation of the noise on a maze's actions."""
    body: str = ""
    """Whose expert walks, a key of `envs.experts.bodies.BODIES`; "" where none is needed."""


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
        for maze, noise, body in (("pointmaze", POINT_NOISE, ""), ("antmaze", WALKER_NOISE, "ant")):
            how: dict[str, Any] = dict(noise=noise, body=body)
            recipes[f"{maze}-{size}-navigate"] = Recipe(f"{maze}-{size}-v0", "navigate", episodes, length, **how)
            recipes[f"{maze}-{size}-stitch"] = Recipe(f"{maze}-{size}-v0", "stitch", 5000, 201, **how)
    for size in ("medium", "large", "teleport"):
        how = dict(noise=EXPLORE_NOISE, body="ant")
        recipes[f"antmaze-{size}-explore"] = Recipe(f"antmaze-{size}-v0", "explore", 10000, 501, **how)
    for size in ("medium", "large", "giant"):
        env_id, how = f"humanoidmaze-{size}-v0", dict(noise=WALKER_NOISE, body="humanoid")
        length, stitches = (4001, 10000) if size == "giant" else (2001, 5000)
        recipes[f"humanoidmaze-{size}-navigate"] = Recipe(env_id, "navigate", 1000, length, **how)
        recipes[f"humanoidmaze-{size}-stitch"] = Recipe(env_id, "stitch", stitches, 401, **how)
    return recipes


RECIPES: dict[str, Recipe] = _recipes()
WITH_BALL = tuple(f"antsoccer-{field}-{style}" for field in ("arena", "medium") for style in ("navigate", "stitch"))
"""Published datasets of the ant that plays with a ball, which are not made here."""


def find_recipe(dataset: str) -> Recipe:
    """Return the recipe of a dataset named with or without '-v0'.

    Raises:
        UserError: no such dataset, or one of the ant that plays with a ball, for which no expert is trained here.
    """
    name = dataset.removesuffix("-v0")
    if name in WITH_BALL:
        raise UserError(
            f"'{name}' cannot be generated: it was collected by a trained expert policy, of which there is none here. "
            f"Download the published file instead: {published_at(name)}"
        )
    return RECIPES[check_choice("dataset", name, RECIPES, most=50)]


def published_at(name: str) -> str:
    """Where the published file of a dataset is had: by the command if tasks here use it, else at OGBench's address."""
    dataset = f"{name}-v0"
    known = dataset in dataset_names()
    return f"python -m envs.download --dataset {dataset}" if known else f"{OGBENCH}/{dataset}.npz"


def expert_of(dataset: str, folder: Path | None = None) -> tuple[Expert, dict[str, Any]] | None:
    """The expert that walks in a dataset's mazes and its card, from a folder or the repository's own; None where none
    does.

    Raises a UserError where it is not there, or is another body's, or is not whole.
    """
    body = find_recipe(dataset).body
    return read_expert(folder or EXPERTS / body, body) if body else None


def open_expert(dataset: str, folder: Path | None = None) -> tuple[Expert, dict[str, Any]] | None:
    """`expert_of` a dataset that is to be generated, whose UserError says what to do instead."""
    find_recipe(dataset)
    try:
        return expert_of(dataset, folder)
    except UserError as error:
        name = dataset.removesuffix("-v0")
        instead = f"or take the published file: {published_at(name)}"
        raise UserError(f"'{name}' cannot be generated: {error}; {instead}") from error


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


class _Maze:
    """A point, or a body that an expert moves, walks along shortest paths, or explores, with noise."""

    def __init__(self, env: Any, recipe: Recipe, expert: Expert | None = None):
        self.env, self.recipe, self.expert = env, recipe, expert
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
        return _unit(self._subgoals[key] - position)

    def _action(self, observation: np.ndarray, direction: np.ndarray) -> np.ndarray:
        """A step (d,) in that direction: a point's is the direction itself, an expert does not see where it is."""
        if self.expert is None:
            return direction
        return self.expert(np.concatenate([observation[2:], direction]))

    def rows(self, env_seed: int) -> Iterator[dict[str, Any]]:
        """Yield one episode's rows; random draws come from numpy, the environment and the action space."""
        env, maze = self.env, self.env.unwrapped

        def pick(cells: list[tuple[int, int]]) -> tuple[int, int]:
            return cells[np.random.randint(len(cells))]

        start = pick(self.cells)
        if self.recipe.style == "stitch":
            goal = pick(self._cells_at_distance(start, STITCH_CELLS) or [start])
        else:
            goal = pick(self.vertices)
        observation, _ = env.reset(seed=env_seed, options={"task_info": {"init_ij": start, "goal_ij": goal}})
        done, step = False, 0
        while not done:
            if self.recipe.style != "explore":
                direction = self._direction()
            elif step % EXPLORE_STEPS == 0:
                direction = _unit(np.random.randn(2))
            action = self._action(observation, direction)
            action = np.clip(action + np.random.normal(0, self.recipe.noise, action.shape), -1, 1)
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
                reached=info["success"],
            )
            observation, step = next_observation, step + 1

    def healthy(self, episode: Episode) -> bool:
        return True


class Collector:
    """Makes episodes of one dataset, one after another, in one environment.

    Each episode depends on its seed only, not on the episodes made before.
    """

    def __init__(self, dataset: str, episode_length: int, expert: Path | None = None):
        """Build the environment (seconds, and 160 MB where it has meshes).

        Args:
            dataset: a key of `RECIPES`.
            episode_length: rows per episode.
            expert: folder of the expert that walks, where one does; None for the repository's own.
        """
        _quiet()
        import gymnasium

        recipe = RECIPES[dataset]
        options: dict[str, Any] = dict(
            terminate_at_goal=False, max_episode_steps=episode_length, disable_env_checker=True
        )
        if "maze" in recipe.env_id:
            import ogbench.locomaze

            with models_removed():
                env: Any = gymnasium.make(recipe.env_id, **options)
            opened = open_expert(dataset, expert)
            self._script: _Manipulation | _Maze = _Maze(env, recipe, opened and opened[0])
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
            environment has buttons button_states (rows, buttons) int64. In mazes also reached (rows,) bool, whether
            the step reached the episode's goal of then, which the published files do not have.
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


def _unit(vector: np.ndarray) -> np.ndarray:
    """The vector at length 1, but for what keeps 0 from being divided by."""
    return vector / (np.linalg.norm(vector) + 1e-6)


def _quiet() -> None:
    """Silence what importing the simulator says on a machine without a display; nothing is rendered here."""
    warnings.filterwarnings("ignore", message=".*DISPLAY environment variable.*")
    warnings.filterwarnings("ignore", message=".*precision lowered by casting.*")
