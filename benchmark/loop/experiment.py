"""What a run's training is handed: what is trained on what, and who watches."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from agents.base import Agent
from benchmark.runs.protocol import Online, Protocol
from benchmark.runs.run import Start
from envs.world import World


@dataclass(frozen=True)
class Experiment:
    """Who learns what: an agent, from one or more seeds that train together, in a world."""

    agent: Agent
    """Its numbers may have an axis over the seeds, (S,): each then has hyperparameters of its own."""
    seeds: tuple[int, ...]
    """They may repeat where hyperparameters differ."""
    protocol: Protocol
    world: World
    online: Online | None = None
    """The phase after the offline one, if there is one."""
    start: Start | None = None
    """The run whose networks it begins with, if there is one."""
    keep_checkpoints: bool = True
    """Whether the last checkpoints are kept when the run is over."""
    keep_policies: bool = False
    """Whether every evaluation's policies are kept, and not only those of the end."""


@dataclass(frozen=True)
class Watch:
    """Who is told how a run goes, and may ask it to stop."""

    say: Callable[[str], None] = print
    """Takes lines for the log."""
    on_progress: Callable[[str, int, int], None] = lambda what, done, total: None
    """Takes what is being done, how far it is, and how far it goes."""
    should_stop: Callable[[], bool] = lambda: False
    """Asked after every row; a run that should stop saves a checkpoint and raises `Stopped`."""
