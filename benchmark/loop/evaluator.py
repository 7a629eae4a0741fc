"""Plays the policies of all seeds of a run, in turn with training or beside it, and hands back what happened."""

from __future__ import annotations

import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp

from agents.base import State
from benchmark.loop.experiment import Experiment, Watch
from benchmark.loop.segments import act
from envs.play.pool import EpisodeResults, NotFinite

Results = list[EpisodeResults | None]
"""Of every seed, None for one that was not to play, or whose policy gave actions that are not finite."""


@dataclass
class Evaluation:
    """An evaluation that was begun, and may go on beside training."""

    step: int
    states: State
    """Those whose policies play."""
    played: Future[tuple[Results, float]]

    @property
    def over(self) -> bool:
        """Whether all episodes are played."""
        return self.played.done()

    def results(self) -> tuple[Results, float]:
        """Wait for the results of every seed; returns them, and the seconds that the episodes took."""
        return self.played.result()


class Evaluator:
    """Plays the protocol's episodes.

    On an accelerator it plays beside training, with a copy of the states. On a CPU both would want the same cores: in
    turn, so that an evaluation is over once it is begun.
    """

    def __init__(self, experiment: Experiment, watch: Watch, beside: bool | None = None):
        """`beside`: whether to play beside training (default: on an accelerator)."""
        self.experiment, self.watch = experiment, watch
        self.beside = jax.default_backend() != "cpu" if beside is None else beside
        self.thread = ThreadPoolExecutor(1, "evaluation") if self.beside else None

    def begin(self, states: State, step: int, active: list[bool]) -> Evaluation:
        """Have the active seeds play with the policies that they have in `states`."""
        if self.thread:
            states = jax.tree.map(jnp.copy, states)
            return Evaluation(step, states, self.thread.submit(self._play, states, step, active, watched=False))
        played: Future[tuple[Results, float]] = Future()
        played.set_result(self._play(states, step, active, watched=True))
        return Evaluation(step, states, played)

    def _play(self, states: State, step: int, active: list[bool], watched: bool) -> tuple[Results, float]:
        started = time.perf_counter()
        agent, seeds, world = self.experiment.agent, self.experiment.seeds, self.experiment.world
        results: Results = [None] * len(seeds)
        playing = list(active)
        while any(playing):
            try:
                results = world.evaluate(
                    lambda observations, ids: act(agent, states, observations, ids),
                    seeds,
                    self.experiment.protocol.eval_episodes,
                    step,
                    active=playing,
                    on_progress=partial(self.watch.on_progress, f"evaluating at step {step}") if watched else None,
                )
                break
            except NotFinite as fault:  # the others play the same episodes again, without these
                playing = [on and run not in fault.runs for run, on in enumerate(playing)]
        return results, time.perf_counter() - started

    def close(self) -> None:
        """Let go of what is under way."""
        if self.thread:
            self.thread.shutdown(wait=False, cancel_futures=True)
