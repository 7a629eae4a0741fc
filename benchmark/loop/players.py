"""Who is to be played again: policies on disk, or what a run has learned so far; and at what.

Everything that cannot be played is found here, before anything is.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from agents.base import Agent
from benchmark.common.errors import UserError, nearest
from benchmark.common.terminal import console
from benchmark.loop.acting import Layout
from benchmark.loop.checkpoints import Checkpoints
from benchmark.loop.played import EPISODES, FILE, Row, rows_of
from benchmark.loop.policies import Policy, Together, check_sizes
from benchmark.loop.running import opened
from benchmark.loop.segments import init_states
from benchmark.loop.stopping import signals_for_this_process_alone
from benchmark.planning.configure import parse_settings, typed
from benchmark.planning.run import Run
from benchmark.runs.code import own_digests
from benchmark.runs.policies import CARD, find_policies, policy_folder
from benchmark.runs.protocol import Online, Protocol
from benchmark.runs.reading import read_records
from benchmark.runs.record import KEPT, RunDirectory
from benchmark.runs.run import RunSpec
from benchmark.runs.table import Table
from envs.family import family_of
from envs.tasks import Task, get_task
from envs.world import Stage, World, environments_for


@dataclass(frozen=True)
class Asked:
    """What is to be played."""

    fixed: Sequence[str] = ()
    """Values "name=value" of hyperparameters that only acting reads."""
    sweeps: Sequence[str] = ()
    """Several values of one, "name=a,b"."""
    episodes: int | None = None
    """Of each policy and seed of evaluation (default: as many as training played)."""
    number: int | None = None
    """The step whose episodes are played (default: that of training's last evaluation)."""
    seeds: tuple[int, ...] = ()
    """Each gives all policies the same episodes (default: each policy those of its own seed, as in training)."""
    task: str | None = None
    """Another task than the one that was trained on, with observations and actions of the same sizes."""


def run_at(path: Path, episodes: int | None) -> Run:
    """The run of a folder, with so many episodes an evaluation where that is said.

    Raises a UserError where the folder holds none, or its agent's files are not those that trained.
    """
    records = read_records(path)
    if records.config is None or not records.starts:
        raise UserError(f"--run: {path} is not the folder of a run that has begun")
    config = records.config
    asked = config["protocol"]
    protocol = Protocol(**{each.name: asked.get(each.name, 0) for each in dataclasses.fields(Protocol)})
    protocol = dataclasses.replace(protocol, eval_episodes=episodes or protocol.eval_episodes)
    if not protocol.eval_episodes:
        raise UserError(f"{path} says of no episodes, so --episodes is needed")
    agent, code = config["agent"], config.get("code")
    if code:
        agent = str(path / "code" / next(iter(code)))  # the file that defines it; then those that it imports
        if own_digests(agent) != code:
            raise UserError(f"the files in {path / 'code'} are not those that the run was made by")
    seeds, settings = tuple(config["seeds"]), config["hyperparameters"]
    online = Online(asked["online_steps"], asked["online_start"]) if "online_steps" in asked else None
    names = dict(name=config["agent"], shown_as=config.get("label"))
    spec = RunSpec(agent, config["task"], seeds, settings, protocol, str(path), online=online, **names)
    return Run(spec, path)


def data_of(run: Run) -> Path | None:
    """The data that a run was trained on, None for a toy. Raises a UserError where it is not there."""
    if run.data_source == "toy":
        return None
    source = read_records(run.path).starts[-1].get("dataset", {}).get("path")
    if not isinstance(source, str) or not Path(source).exists():
        raise UserError(f"no dataset at {source or 'a place that its record says'}, which {run.path} was trained on")
    return Path(source)


def combinations(cls: type[Agent], fixed: Sequence[str], sweeps: Sequence[str]) -> list[dict[str, Any]]:
    """All settings that are asked, the last hyperparameter changing fastest; one, which may be {}, without a sweep.

    Raises a UserError for a hyperparameter that learning reads, one named twice, and a value that it cannot have.
    """
    values: dict[str, list[Any]] = {}
    for option, items, sign in (("--set", fixed, None), ("--sweep", sweeps, ",")):
        for name, text in parse_settings(items).items():
            if name not in cls.acting_options:
                allowed = ", ".join(cls.acting_options) or "none"
                raise UserError(
                    f"{option} {name}: not one of the hyperparameters that only acting reads"
                    f"{nearest(name, cls.acting_options)}; {cls.name} has of these: {allowed}"
                )
            if name in values:
                raise UserError(f"'{name}' is in --set and in --sweep")
            values[name] = [typed(cls, {name: part})[name] for part in (text.split(sign) if sign else [text])]
            if len(set(values[name])) < len(values[name]):
                raise UserError(f"{option} {name}={text} names a value twice")
    return [dict(zip(values, each, strict=True)) for each in itertools.product(*values.values())]


@contextlib.contextmanager
def players_of(run: Run, asked: Asked) -> Iterator[Players]:
    """The policies of a run, or those of its newest checkpoint where it is not finished; its folder is held meanwhile.

    Raises a UserError for what cannot be played.
    """
    combinations(run.agent_class, asked.fixed, asked.sweeps)
    folders = [policy_folder(run.path, seed) for seed in run.spec.seeds]
    folders = [folder for folder in folders if (folder / CARD).is_file()]
    if folders and run.says_done():
        agent = run.spec.agent if run.spec.agent.endswith(".py") else None
        group = Group([Policy(folder, agent) for folder in folders], run)
        group.check(asked)
        with run.directory:
            yield group
        return
    if not any(run.directory.checkpoints.glob("[0-9]*")):
        raise UserError(f"{run.path} has no policy and no checkpoint; {KEPT}")
    data = data_of(run)
    with run.directory, opened(run, data, len(run.spec.seeds)) as world:
        yield Trained(run, world)


def groups_in(paths: Sequence[Path], agent: str | None = None) -> list[Group]:
    """All policies that these folders hold, those that trained together as a group. Raises a UserError for a folder
    that holds none, and for policies that cannot be used.
    """
    found: dict[Path, None] = {}
    for path in paths:
        folders = find_policies(path)
        if not folders:
            raise UserError(f"{path} holds no policy: there is no {CARD} of one in it")
        found |= dict.fromkeys(folder.absolute() for folder in folders)
    return [Group(each) for each in grouped([Policy(folder, agent) for folder in found])]


def grouped(policies: Sequence[Policy]) -> list[list[Policy]]:
    """The policies that trained together, of the same run and step."""
    groups: dict[Any, list[Policy]] = {}
    for policy in policies:
        card = policy.card
        key = (policy.folder.parent, card.agent, card.task, tuple(card.seeds), card.step, str(card.hyperparameters))
        groups.setdefault(key, []).append(policy)
    return list(groups.values())


class Players:
    """Policies that act in one program, and where what they play is written."""

    agent: Agent
    label: str
    """What their run is shown under."""
    hyperparameters: Mapping[str, Any]
    """As their run has recorded them."""
    layout: Layout
    arrays: dict[str, Any]
    """What acting reads, (S, ...)."""
    seeds: tuple[int, ...]
    active: list[bool]
    """Of each seed, whether there is a policy of it."""
    step: int
    task: Task
    places: dict[int, Path]
    """The folder of records of each active seed."""

    def check(self, asked: Asked) -> None:
        """Raise a UserError for what cannot be played."""
        combinations(type(self.agent), asked.fixed, asked.sweeps)
        self.episodes(asked)
        self.task_of(asked)

    def agent_with(self, setting: dict[str, Any]) -> Agent:
        """The agent with other values of what only acting reads."""
        given = {name: getattr(self.agent.config, name) for name in self.agent.acting_options} | setting
        config = dataclasses.replace(self.agent.config, **given)
        return type(self.agent)(config, self.agent.observation_dim, self.agent.action_dim)

    @property
    def variant(self) -> str:
        """Tells runs of one label with other hyperparameters apart: a digest of those that learning reads."""
        learned = {name: value for name, value in self.hyperparameters.items() if name not in self.agent.acting_options}
        return hashlib.sha256(json.dumps(learned, sort_keys=True).encode()).hexdigest()[:8]

    def kept(self) -> dict[Path, list[Row]]:
        """The rows of each file of records so far. Raises `Damaged` where they cannot be kept."""
        files = [place / name for place in dict.fromkeys(self.places.values()) for name in (FILE, EPISODES)]
        return {path: rows_of(path) for path in files}

    def last(self) -> tuple[int, int]:
        """Step and episodes of training's last evaluation."""
        raise NotImplementedError

    def episodes(self, asked: Asked) -> int:
        """How many to play. Raises a UserError where nothing says it."""
        count = asked.episodes or self.last()[1]
        if not count:
            place = next(iter(self.places.values()))
            raise UserError(f"{place} says of no episodes, so --episodes is needed")
        return count

    def task_of(self, asked: Asked) -> Task:
        """The task to play. Raises a UserError where its sizes are others."""
        raise NotImplementedError

    @contextlib.contextmanager
    def stage(self, asked: Asked) -> Iterator[Stage]:
        """Where they play."""
        environments = environments_for(len(self.seeds), self.episodes(asked))
        with signals_for_this_process_alone():
            stage = family_of(self.task_of(asked)).open_stage(self.task_of(asked), environments)
        with contextlib.closing(stage):
            yield stage


class Group(Players):
    """Policies on disk, of seeds that trained together."""

    def __init__(self, policies: Sequence[Policy], run: Run | None = None):
        """`run`: whose folder has all records, and whose label they have (default: the policies' own)."""
        self.policies, self.first = policies, policies[0]
        self.places = {policy.card.seed: run.path if run else policy.folder for policy in policies}
        self.label = run.spec.label if run else self.first.card.label or self.first.card.agent
        self.hyperparameters = self.first.card.hyperparameters
        self.agent, self.layout = self.first.agent, self.first.layout
        self.step, self.task = self.first.card.step, self.first.task
        self.seeds = tuple(self.first.card.seeds)
        self.active = [seed in self.places for seed in self.seeds]

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """The policies' folders are held meanwhile. Raises a UserError where another process writes to one."""
        with contextlib.ExitStack() as held:
            for policy in self.policies:
                held.enter_context(RunDirectory(policy.folder))
            yield

    @cached_property
    def arrays(self) -> dict[str, Any]:  # type: ignore[override]
        """What acting reads; read from the files when it is first played."""
        return Together(self.policies, self.seeds).arrays

    def last(self) -> tuple[int, int]:
        last = self.first.card.evaluation or {"step": self.step, "episodes": 0}
        return last["step"], last["episodes"]

    def task_of(self, asked: Asked) -> Task:
        task = self.task if asked.task is None else get_task(asked.task)
        check_sizes(self.first.folder, self.first.card, task)
        return task


class Trained(Players):
    """What a run has learned up to its newest checkpoint, of all seeds."""

    def __init__(self, run: Run, world: World):
        """Read the newest checkpoint that is whole. Raises a UserError where there is none, or no seed to play."""
        self.run, self.world = run, world
        self.label, self.hyperparameters = run.spec.label, run.spec.settings
        self.task, self.seeds = run.task, run.spec.seeds
        data = world.data_for(0)
        self.agent = run.agent_class(run.hyperparameters, data.observation_dim, data.action_dim)
        states = init_states(self.agent, jnp.asarray(self.seeds, jnp.uint32), data)
        checkpoints = Checkpoints(run.directory.checkpoints, read_only=True)
        try:
            found = checkpoints.restore(states, console.print)
        finally:
            checkpoints.close()
        if found is None:
            raise UserError(f"{run.path} has no checkpoint that is whole")
        progress, states, record = found
        self.step = progress - self.agent.pretraining_steps
        self.layout = Layout.of(jax.tree.map(lambda leaf: leaf[0], states))
        self.arrays = dict(zip(self.layout.shapes, jax.tree.leaves(states), strict=True))
        self.active = [str(seed) not in record["diverged"] for seed in self.seeds]
        self.places = {seed: run.path for seed, on in zip(self.seeds, self.active, strict=True) if on}
        if not self.places:
            raise UserError(f"all seeds of {run.path} have diverged")

    def last(self) -> tuple[int, int]:
        steps = [row["step"] for row in Table(self.run.path / "eval.csv").rows if 0 <= row["step"] <= self.step]
        return max(steps, default=max(self.step, 0)), self.run.spec.protocol.eval_episodes

    def task_of(self, asked: Asked) -> Task:
        if asked.task not in (None, self.task.name):
            raise UserError(
                f"--task: {self.run.path} is not finished, so only its own task, {self.task.name}, is played"
            )
        return self.task

    @contextlib.contextmanager
    def stage(self, asked: Asked) -> Iterator[Stage]:
        yield self.world
