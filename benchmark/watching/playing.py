"""Plays a run's policy as its evaluation does, and keeps the actions, so that episodes can be played again and seen.

What is filmed is what was counted: the pool plays with the policy's batches as they are in training's evaluations, so
that not even the last digit of an action differs, and an episode is its identity and its actions.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmark.common.errors import UserError, summary
from benchmark.common.terminal import console, progress_bar
from benchmark.loop.acting import act_with
from benchmark.loop.compiled import keep_programs
from benchmark.loop.evaluating import Asked, combinations, players_of, run_at
from benchmark.runs.clips import Shown
from benchmark.runs.reading import read_records
from envs.play.camera import Episode
from envs.play.pool import EpisodeResults, EvaluationError, Policy
from envs.tasks import Task


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


def play(
    path: Path,
    seed: int | None = None,
    number: int | None = None,
    fixed: Sequence[str] = (),
    only: Collection[int] | None = None,
) -> Played:
    """Play episodes of a run's policies; of its newest checkpoint where it is not finished.

    Args:
        path: the run's folder.
        seed: which of its policies (default: the first that has not diverged).
        number: the episodes are those that training plays at that step (default: of its last evaluation).
        fixed: "name=value" of hyperparameters that only acting reads.
        only: indices of the episodes (default: all of the run's protocol).

    Raises a UserError, before anything is played, for what cannot be.
    """
    run, asked = run_at(path, None), Asked(fixed, number=number)
    (setting,) = combinations(run.agent_class, fixed, ())
    seeds, episodes = run.spec.seeds, run.spec.protocol.eval_episodes
    if seed is not None and seed not in seeds:
        raise UserError(f"{path} has no seed {seed}, but {', '.join(map(str, seeds))}")
    if only is not None and max(only) >= episodes:
        raise UserError(f"{path} is evaluated on {episodes} episodes, 0 to {episodes - 1}; there is no {max(only)}")
    label = (read_records(path).config or {}).get("label") or run.spec.label
    keep_programs()
    with players_of(run, asked) as players, players.stage(asked) as stage, progress_bar(console) as bar:
        seed = next(s for s, on in zip(seeds, players.active, strict=True) if on) if seed is None else seed
        row = seeds.index(seed)
        if not players.active[row]:
            raise UserError(f"seed {seed} of {path} has diverged")
        number = players.last()[0] if number is None else number
        agent, shown = players.agent_with(setting), bar.add_task(f"{label} plays")
        taken = Taken(
            lambda observations, ids: act_with(agent, players.arrays, observations, ids, players.layout),
            *(row, seed, number, range(episodes) if only is None else only),
        )
        try:
            results = stage.evaluate(
                *(taken, seeds, episodes, number),
                active=[i == row for i in range(len(seeds))],
                on_progress=lambda done, total: bar.update(shown, completed=done, total=total),
                only=only,
            )[row]
        except EvaluationError as error:
            raise UserError(f"{label}: {summary(error)}") from error
    assert results is not None
    return Played(label, run.task, seed, number, results, taken.actions())
