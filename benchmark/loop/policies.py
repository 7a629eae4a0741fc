"""Trained policies, loaded: they act, alone or with the seeds beside which they were trained.

    from benchmark import load_policy

    policy = load_policy("runs/quickstart/rql/cube-single-play-singletask-task1-v0/seeds-0/policies/seed-0")
    chunk = policy(observation, seed=0)  # (H, d), to be carried out one action after the other

Loading runs nothing that lies beside a policy: an agent from outside the repository is named by whoever loads.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jax import Array

from agents.base import Agent
from benchmark.common.errors import UserError
from benchmark.common.options import input_folder
from benchmark.common.reading import Damaged
from benchmark.loop.acting import act_with, layout_of, read_by_acting
from benchmark.planning.configure import configure
from benchmark.planning.registry import agent_class, agent_names
from benchmark.runs.code import own_digests
from benchmark.runs.policies import CARD, Card, check_parameters, find_policies, read_card, read_parameters
from envs.tasks import Task, dimensions, get_task


class Policy:
    """A policy on disk that was found whole; its arrays are read when it first acts."""

    def __init__(self, folder: Path, agent: str | os.PathLike | None = None):
        """Read a policy's card, and check its arrays' sizes; `agent`: the file of one from outside the repository.

        Raises a UserError for all that cannot be used.
        """
        self.folder, self.card = folder, read_card(folder)
        cls = class_of(folder, self.card, agent)
        try:
            config = configure(cls, self.card.hyperparameters)
        except UserError as error:
            raise Damaged(folder / CARD, str(error)) from error
        self.agent: Agent = cls(config, *self.card.sizes)
        check_sizes(folder, self.card, self.task)
        self.layout = layout_of(
            self.agent, {name: (shape[0], tuple(shape[1:])) for name, shape in self.card.extra.items()}
        )
        self.names = read_by_acting(self.agent, self.layout)
        """Of its arrays, in the agent's state."""
        check_parameters(folder, self._expected)
        self._arrays: dict[str, np.ndarray] = {}

    @property
    def task(self) -> Task:
        """The task that it was trained on."""
        return get_task(self.card.task)

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """What acting reads, by name; read from the file once. Raises `Damaged` where that has changed."""
        if not self._arrays:
            self._arrays = read_parameters(self.folder, self.card, self._expected)
        return self._arrays

    @property
    def _expected(self) -> dict[str, Any]:
        return {name: self.layout.shapes[name] for name in self.names}

    def __call__(self, observations: Any, seed: int | Sequence[int] | np.ndarray = 0) -> np.ndarray:
        """Chunks of actions in [-1, 1]: (H, d) for an observation (O,), (B, H, d) for a batch (B, O).

        `seed` is what the noise is drawn from, of each row with its number; another for each chunk of an episode.
        Words (n,), or (B, n), are the noise of that chunk in an evaluation: run seed, step, episode, chunk. It is
        compiled once for each size of a batch. Raises a UserError for observations of another size.
        """
        given = np.asarray(observations, np.float32)
        rows = np.atleast_2d(given)
        if given.ndim not in (1, 2) or rows.shape[1] != self.card.sizes[0] or not len(rows):
            raise UserError(
                f"{self.folder} acts on observations of {self.card.sizes[0]} numbers, or a batch of such, not on an "
                f"array of shape {given.shape}"
            )
        words = np.asarray(seed)
        ids = (
            np.stack([np.full(len(rows), words), np.arange(len(rows))], 1) if words.ndim == 0 else np.atleast_2d(words)
        )
        if words.dtype.kind not in "iu" or ids.shape[0] != len(rows) or (ids < 0).any() or (ids >= 2**32).any():
            raise UserError("seed must be a whole number of 32 bits, or as many rows of such as there are observations")
        chunks = np.asarray(Together([self]).act(rows[None], ids[None].astype(np.uint32)))[0]
        return np.clip(chunks[0] if given.ndim == 1 else chunks, -1, 1)


class Together:
    """Policies that trained together, as members of one program: so they act to the bit as when training evaluated
    them; products of matrices differ in the last digit with the number of seeds beside.
    """

    def __init__(self, policies: Sequence[Policy], seeds: Sequence[int] | None = None):
        """`seeds`: of all members (default: of these policies); in the places of those that are not here are zeros."""
        self.first = policies[0]
        by_seed = {policy.card.seed: policy for policy in policies}
        self.seeds = tuple(by_seed if seeds is None else seeds)
        self.active = [seed in by_seed for seed in self.seeds]
        members = [by_seed[seed].arrays if seed in by_seed else None for seed in self.seeds]
        blank = {name: np.zeros_like(array) for name, array in self.first.arrays.items()}
        self.arrays = {name: np.stack([(member or blank)[name] for member in members]) for name in self.first.names}

    def act(self, observations: Any, ids: Any, agent: Agent | None = None) -> Array:
        """Chunks (S, P, H, d), unclipped, for observations (S, P, O), the noise of each drawn from its ids (S, P, n);
        `agent`: with other hyperparameters that only acting reads.
        """
        return act_with(agent or self.first.agent, self.arrays, observations, ids, self.first.layout)


def load_policy(path: str | os.PathLike, agent: str | os.PathLike | None = None) -> Policy:
    """Load a policy, from its folder or one that holds no other; `agent` is the file of an agent from outside the
    repository, which must be the one that was trained.

    Raises a UserError that says why, where there is none or it cannot be used.
    """
    folder = input_folder("policy", str(path))
    found = find_policies(folder)
    if len(found) > 1 and folder not in found:
        names = ", ".join(str(each.relative_to(folder)) for each in found[:4])
        raise UserError(f"{folder} holds {len(found)} policies; choose one: {names}" + ", …" * (len(found) > 4))
    return Policy(folder if folder in found or not found else found[0], agent)


def class_of(folder: Path, card: Card, file: str | os.PathLike | None) -> type[Agent]:
    """The class of a card's agent. Raises a UserError where there is no such agent, or not the one that was trained."""
    if not card.code:
        if card.agent not in agent_names():
            raise UserError(f"{folder} is a policy of '{card.agent}', which is no agent of this repository")
        return agent_class(card.agent)
    name = next(iter(card.code))
    if file is None:
        kept = folder.absolute().parent.parent / "code" / name
        raise UserError(
            f"{folder} is a policy of '{card.agent}', an agent from outside the repository, whose code is not run "
            f"unasked: name its file, {name}, with --agent (in Python load_policy(path, agent=...))"
            + (f"; its run kept it in {kept}" if kept.is_file() else "")
        )
    if not Path(file).is_file():
        raise UserError(f"no agent file at {file}, with which {folder} would be loaded")
    found = own_digests(str(file))
    here = Path(file).name
    renamed = {(name if each == here else each): digest for each, digest in found.items()}
    for each in {**card.code, **renamed}:
        if card.code.get(each) != renamed.get(each):
            was, now = (str(digests.get(each, "none"))[:12] for digests in (card.code, renamed))
            raise UserError(
                f"{file} is not the agent that {folder} was trained with: {each} was sha256 {was}, is {now} now"
            )
    cls = agent_class(str(file))
    if cls.name != card.agent:
        raise Damaged(folder / CARD, f"agent is '{card.agent}', and its file defines '{cls.name}'")
    return cls


def check_sizes(folder: Path, card: Card, task: Task) -> None:
    """Raise a UserError where a policy's observations and actions are not of a task's sizes."""
    sizes = dimensions(task.domain)
    if tuple(card.sizes) != sizes:
        raise UserError(
            f"{folder} acts on observations of {card.sizes[0]} numbers with actions of {card.sizes[1]}; "
            f"{task.name} has {sizes[0]} and {sizes[1]}"
        )
