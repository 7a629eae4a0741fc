"""Tasks: what is to be solved, on which data, under which protocol.

A task is a value. Its domain carries what the papers fix per domain (action chunk, discount, pessimism, reward
form, data): Reversal Q-Learning (arXiv 2606.17551) and Q-learning with Adjoint Matching (arXiv 2601.14234) use
the same settings. `Task.name` is OGBench's own single-task name, so that
`ogbench.make_env_and_datasets(task.name)` is the same environment and the same rewards.
"""

from __future__ import annotations

from dataclasses import dataclass

from benchmark.common.errors import check_choice


@dataclass(frozen=True)
class Domain:
    """One environment with one dataset: five tasks share it."""

    name: str
    """OGBench's dataset name without version, e.g. 'cube-double-play'."""
    episode_limit: int
    """Environment steps after which an episode is cut."""
    chunk_length: int = 5
    """Actions per chunk, H: 5 in manipulation, 1 in locomotion."""
    discount: float = 0.99
    """Discount per environment step, γ."""
    pessimism: float = 0.5
    """ρ: the ensemble's value is its mean minus ρ standard deviations."""
    sparse: bool = False
    """Whether rewards are flattened to -1 (unsolved) and 0 (solved)."""
    shards: int = 0
    """Files of the 100M-transition dataset that training rotates through; 0 for a single file."""
    family: str = "ogbench"
    """The kind of task, a key of `envs.family.FAMILIES`: "ogbench", "d4rl" or "toy"."""
    tuned_as: str = ""
    """Domain whose tuned hyperparameters it takes where it has none of its own; '' for none."""

    @property
    def single_task(self) -> bool:
        """Whether it has one task, named as the domain, and not five goals."""
        return self.family != "ogbench"

    @property
    def dataset(self) -> str:
        """File (or, for 100M data, folder) name of the dataset, without suffix."""
        if self.family == "d4rl":
            return self.name
        return f"{self.name}-100m-v0" if self.shards else f"{self.name}-v0"


@dataclass(frozen=True)
class Task:
    """One goal of one domain."""

    domain: Domain
    number: int
    """1 to 5."""

    @property
    def name(self) -> str:
        """OGBench's name, e.g. 'cube-double-play-singletask-task1-v0'; of a toy or one of D4RL's, the domain's."""
        if self.domain.single_task:
            return self.domain.name
        return f"{self.domain.name}-singletask-task{self.number}-v0"

    @property
    def dataset(self) -> str:
        """Name of the dataset, e.g. 'cube-double-play-v0'."""
        return self.domain.dataset


def ant_maze(name: str, discount: float = 0.99, tuned_as: str = "") -> Domain:
    """An ant's maze."""
    return Domain(name, episode_limit=1000, chunk_length=1, discount=discount, tuned_as=tuned_as)


def humanoid_maze(name: str, tuned_as: str = "") -> Domain:
    """A humanoid's maze."""
    return Domain(name, episode_limit=2000, chunk_length=1, discount=0.995, pessimism=0.0, tuned_as=tuned_as)


# The paper's ten domains: mazes, cubes, scene, puzzles (its table has the cubes last).
OGBENCH_DOMAINS = (
    ant_maze("antmaze-large-navigate"),
    ant_maze("antmaze-giant-navigate", discount=0.995),
    humanoid_maze("humanoidmaze-medium-navigate"),
    humanoid_maze("humanoidmaze-large-navigate"),
    Domain("cube-double-play", episode_limit=500),
    Domain("cube-triple-play", episode_limit=1000),
    Domain("cube-quadruple-play", episode_limit=1000, shards=100),
    Domain("scene-play", episode_limit=750, sparse=True),
    Domain("puzzle-3x3-play", episode_limit=500, sparse=True),
    Domain("puzzle-4x4-play", episode_limit=500, sparse=True, shards=100),
)

# The same goals on worse or differently collected data, with the hyperparameters of the data that were tuned on.
QUALITY_DOMAINS = (
    ant_maze("antmaze-large-stitch", tuned_as="antmaze-large-navigate"),
    humanoid_maze("humanoidmaze-medium-stitch", tuned_as="humanoidmaze-medium-navigate"),
    Domain("cube-double-noisy", episode_limit=500, tuned_as="cube-double-play"),
    Domain("cube-triple-noisy", episode_limit=1000, tuned_as="cube-triple-play"),
    Domain("scene-noisy", episode_limit=750, sparse=True, tuned_as="scene-play"),
    Domain("puzzle-3x3-noisy", episode_limit=500, sparse=True, tuned_as="puzzle-3x3-play"),
)

# Small enough for a laptop.
SMALL_DOMAINS = (Domain("cube-single-play", episode_limit=200),)

# Known answers, for checking algorithms.
TOY_TASKS = (
    Task(Domain("toy-modes", episode_limit=1, chunk_length=1, family="toy"), 1),
    Task(Domain("toy-detour", episode_limit=130, chunk_length=2, family="toy"), 1),
)

# D4RL's antmaze and adroit tasks of the FQL paper (arXiv 2502.02538), with D4RL's limits on the length of episodes.
D4RL_TASKS = tuple(
    Task(Domain(name, episode_limit=limit, chunk_length=1, family="d4rl"), 1)
    for name, limit in {
        **{f"antmaze-{maze}-v2": 700 for maze in ("umaze", "umaze-diverse")},
        **{f"antmaze-{maze}-{kind}-v2": 1000 for maze in ("medium", "large") for kind in ("play", "diverse")},
        **{f"pen-{kind}-v1": 100 for kind in ("human", "cloned", "expert")},
        **{
            f"{hand}-{kind}-v1": 200
            for hand in ("door", "hammer", "relocate")
            for kind in ("human", "cloned", "expert")
        },
    }.items()
)

# Sizes of observations and actions in OGBench 1.2 (its environments' spaces), whichever data are taken, in D4RL's hands
# and mazes and in the toys, by what the names of domains begin with.
DIMENSIONS = {
    "antmaze": (29, 8),
    "humanoidmaze-medium": (69, 21),
    "humanoidmaze-large": (69, 21),
    "cube-single": (28, 5),
    "cube-double": (37, 5),
    "cube-triple": (46, 5),
    "cube-quadruple": (55, 5),
    "scene": (40, 5),
    "puzzle-3x3": (55, 5),
    "puzzle-4x4": (83, 5),
    "pen": (45, 24),
    "door": (39, 28),
    "hammer": (46, 26),
    "relocate": (39, 30),
    "toy": (2, 2),
}

# OGBench's default task of each kind of domain, on which hyperparameters are tuned; task 1 elsewhere.
DEFAULT_TASKS = {"cube": 2, "scene": 2, "puzzle": 4}

DOMAINS: dict[str, Domain] = {d.name: d for d in (*OGBENCH_DOMAINS, *QUALITY_DOMAINS, *SMALL_DOMAINS)}
TASKS: dict[str, Task] = {
    task.name: task for task in (*(Task(d, n) for d in DOMAINS.values() for n in range(1, 6)), *TOY_TASKS, *D4RL_TASKS)
}


def get_domain(name: str) -> Domain:
    """Return the domain of that name, else raise a UserError that names the nearest one."""
    return DOMAINS[check_choice("domain", name, DOMAINS)]


def get_task(name: str) -> Task:
    """Return the task of that name, else raise a UserError that names the nearest one."""
    return TASKS[check_choice("task", name, TASKS)]


def tasks_of(*domains: Domain) -> tuple[Task, ...]:
    """Return the five tasks of each domain, in order."""
    return tuple(Task(domain, number) for domain in domains for number in range(1, 6))


SUITE_TASKS: dict[str, tuple[Task, ...]] = {
    "quickstart": (TASKS["cube-single-play-singletask-task1-v0"],),
    "toy": TOY_TASKS,
    "small": tuple(TASKS[f"{name}-singletask-task1-v0"] for name in ("puzzle-3x3-play", "scene-play")),
    "ogbench": tasks_of(*OGBENCH_DOMAINS),
    "ogbench_quality": tasks_of(*QUALITY_DOMAINS),
    "d4rl": D4RL_TASKS,
}
"""The tasks of each suite."""
SUITES_OF_MADE_DATA = ("quickstart", "toy", "small")
"""Suites that make their data; the others take published files."""


def dimensions(domain: Domain) -> tuple[int, int]:
    """(O, d) of a domain."""
    return next(sizes for kind, sizes in DIMENSIONS.items() if domain.name.startswith(f"{kind}-"))


def default_task(domain: Domain) -> Task:
    """The one task of a domain on which agents are tuned."""
    return Task(domain, DEFAULT_TASKS.get(domain.name.split("-")[0], 1))
