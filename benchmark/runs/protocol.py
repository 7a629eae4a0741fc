"""How long a run trains, on which data, and how it is evaluated."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass


@dataclass(frozen=True)
class Protocol:
    """How long a run trains and how it is evaluated."""

    steps: int
    """Updates, after an algorithm's own pretraining if it has one."""
    eval_every: int
    """Updates between evaluations; the last update is always evaluated."""
    eval_episodes: int
    """Episodes per evaluation and seed."""
    eval_first: bool
    """Whether to evaluate after the first update too."""
    log_every: int
    """Updates between rows of train.csv."""
    checkpoint_every: int
    """Updates between checkpoints."""

    @property
    def evaluations(self) -> int:
        """Evaluations of a whole run."""
        return -(-self.steps // self.eval_every) + self.eval_first if self.steps else 0

    def next_due(self, step: int) -> int:
        """The first step after `step` at which a row, an evaluation or a checkpoint is due: with them all of a row, as
        their intervals need not be multiples of one another.
        """
        return min(step + every - step % every for every in (self.log_every, self.eval_every, self.checkpoint_every))

    def scaled_to(self, steps: int) -> Protocol:
        """The same protocol with another length; intervals that no longer fit shrink to the whole length."""
        shorter = {name: min(getattr(self, name), steps) for name in ("eval_every", "log_every", "checkpoint_every")}
        return dataclasses.replace(self, steps=steps, **shorter)


@dataclass(frozen=True)
class Online:
    """An online phase after the offline one; see `benchmark.loop.online`."""

    steps: int
    """Environment steps of each seed."""
    start: int = 5_000
    """Steps before the phase's first update; from then on one update a step."""


@dataclass(frozen=True)
class Generated:
    """A dataset that is made, not downloaded: by OGBench's scripted policies."""

    transitions: int
    seed: int = 0
