"""Plays a run's policy as its evaluation does, and keeps the actions, so that episodes can be played again and seen.

What is filmed is what was counted: the pool plays with the policy's batches as they are in training's evaluations, so
that not even the last digit of an action differs, and an episode is its identity and its actions.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmark.common.errors import UserError, summary
from benchmark.common.terminal import console, progress_bar
from benchmark.loop.acting import act_with
from benchmark.loop.compiled import forget_programs_if_many, keep_programs
from benchmark.loop.players import Asked, Players, combinations, groups_in, players_of, run_at
from benchmark.runs.clips import Shown
from benchmark.runs.policies import find_policies, read_card
from benchmark.runs.reading import read_records
from envs.play.camera import Episode
from envs.play.pool import EpisodeResults, EvaluationError, Policy
from envs.tasks import Task, get_task


@dataclass(frozen=True)
class Played:
    """Episodes that the policy of one seed of a run has played."""

    label: str
    task: Task
    seed: int
    number: int
    """Of the evaluation: the step at which training plays these episodes."""
    results: EpisodeResults
    """Of all episodes of the evaluation, NaN for those that were not played."""
    actions: dict[int, np.ndarray]
    """Of the episodes that were played, (n, d)."""

    def shown(self, index: int) -> Shown:
        """What came of an episode."""
        found = self.results
        outcome = float(found.success[index]), float(found.returns[index]), int(found.lengths[index])
        return Shown(self.seed, self.number, index, *outcome)

    def episode(self, index: int) -> Episode:
        """An episode, to be played again."""
        return Episode((self.seed, self.number, index), self.actions[index])


class Taken:
    """A policy, of which the actions in one run's episodes are kept."""

    def __init__(self, policy: Policy, row: int, seed: int, number: int, episodes: Collection[int]):
        """`row` is the run's in the policy's batch."""
        self.policy, self.row, self.seed, self.number = policy, row, seed, number
        self.chunks: dict[int, list[np.ndarray]] = {index: [] for index in episodes}

    def __call__(self, observations: np.ndarray, ids: np.ndarray) -> np.ndarray:
        """See `envs.play.pool.Policy`."""
        actions = np.asarray(self.policy(observations, ids))
        for index, chunks in self.chunks.items():
            column = index % ids.shape[1]
            if tuple(ids[self.row, column]) == (self.seed, self.number, index, len(chunks)):
                chunks.append(actions[self.row, column])
        return actions

    def actions(self) -> dict[int, np.ndarray]:
        """All of each episode, end to end; more than it has steps where it ended within a chunk."""
        return {index: np.concatenate(chunks) for index, chunks in self.chunks.items()}


@contextlib.contextmanager
def players_at(path: Path, asked: Asked, agent: str | None = None) -> Iterator[tuple[str, Players]]:
    """The label and the policies of a run, its newest checkpoint's where it is not finished; or of a folder that holds
    policies which trained together, for which `agent` is the file of one from outside the repository.
    """
    if is_run(path):
        run = run_at(path, None)
        with players_of(run, asked) as players:
            yield (read_records(path).config or {}).get("label") or run.spec.label, players
        return
    groups = groups_in([path], agent)
    if len(groups) > 1:
        raise UserError(f"{path} holds policies of {len(groups)} trainings or steps: name the folder of one")
    groups[0].check(asked)
    yield groups[0].first.card.agent, groups[0]


def is_run(path: Path) -> bool:
    """Whether a folder is a run's, and not one of policies that were handed on."""
    return (path / "config.json").is_file() or not find_policies(path)


def task_of(path: Path) -> Task:
    """The task of a run or of policies."""
    return run_at(path, None).task if is_run(path) else get_task(read_card(find_policies(path)[0]).task)


def play(
    path: Path,
    seed: int | None = None,
    number: int | None = None,
    fixed: Sequence[str] = (),
    only: Collection[int] | None = None,
    agent: str | None = None,
) -> Played:
    """Play episodes of policies.

    Args:
        path: a run's folder, or one that holds policies.
        seed: which of its policies (default: the first that has not diverged).
        number: the episodes are those that training plays at that step (default: of its last evaluation).
        fixed: "name=value" of hyperparameters that only acting reads.
        only: indices of the episodes (default: as many as training's last evaluation had).
        agent: the file of an agent from outside the repository, for policies without their run.

    Raises a UserError, before anything is played, for what cannot be.
    """
    keep_programs()
    forget_programs_if_many()
    asked = Asked(fixed, number=number)
    with players_at(path, asked, agent) as (label, players), players.stage(asked) as stage:
        (setting,) = combinations(type(players.agent), fixed, ())
        seeds, (last, episodes) = players.seeds, players.last()
        if only is not None and max(only) >= episodes:
            raise UserError(f"{path} is evaluated on {episodes} episodes, 0 to {episodes - 1}; there is no {max(only)}")
        row = row_of(path, players, seed)
        number = last if number is None else number
        shown = range(episodes) if only is None else only
        acting = players.agent_with(setting)
        taken = Taken(
            lambda observations, ids: act_with(acting, players.arrays, observations, ids, players.layout),
            *(row, seeds[row], number, shown),
        )
        with progress_bar(console) as bar:
            task = bar.add_task(f"{label} plays")
            try:
                results = stage.evaluate(
                    *(taken, seeds, episodes, number),
                    active=[i == row for i in range(len(seeds))],
                    on_progress=lambda done, total: bar.update(task, completed=done, total=total),
                    only=only,
                )[row]
            except EvaluationError as error:
                raise UserError(f"{label}: {summary(error)}") from error
    assert results is not None
    return Played(label, players.task, seeds[row], number, results, taken.actions())


def row_of(path: Path, players: Players, seed: int | None) -> int:
    """The place of a seed's policy among the players, of the first that is there by default."""
    if seed is None:
        return players.active.index(True)
    if seed not in players.seeds:
        raise UserError(f"{path} has no seed {seed}, but {', '.join(map(str, players.seeds))}")
    row = players.seeds.index(seed)
    if not players.active[row]:
        raise UserError(f"seed {seed} of {path} has diverged, or its policy is not here")
    return row
