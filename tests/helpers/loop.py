"""Starts the training loop without what opens worlds and runs."""

from __future__ import annotations

from agents.base import Agent
from benchmark.loop.evaluator import Evaluator
from benchmark.loop.experiment import Experiment, Watch
from benchmark.loop.offline import Training
from benchmark.loop.online import OnlineTraining
from benchmark.loop.recorder import Recorder
from benchmark.runs.protocol import Online, Protocol
from benchmark.runs.record import RunDirectory
from benchmark.runs.run import Start
from envs.play.live import Live
from envs.world import World


def training_of(
    directory: RunDirectory,
    agent: Agent,
    protocol: Protocol,
    world: World,
    seeds: tuple[int, ...] = (0, 3),
    beside: bool | None = None,
    online: Online | None = None,
    live: Live | None = None,
    start: Start | None = None,
    **watched,
) -> Training:
    """A run's training; `watched` as `Watch` takes it."""
    watch = Watch(**{"say": lambda text: None, **watched})
    experiment = Experiment(agent, seeds, protocol, world, online, start)
    parts = experiment, Evaluator(experiment, watch, beside), Recorder(directory, seeds, watch), watch
    return Training(*parts) if live is None else OnlineTraining(*parts, live)
