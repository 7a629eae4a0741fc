"""The training loop: compiled segments of updates for all seeds of a run, and evaluation, records and checkpoints
between them. Python runs only between segments.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from agents.base import Agent, State
from benchmark.common.errors import Stopped
from benchmark.loop.checkpoints import Checkpoints
from benchmark.loop.segments import BLOCK, act, begin, init_states, run_segment
from benchmark.runs.protocol import Protocol
from benchmark.runs.record import RunDirectory
from benchmark.runs.table import Table
from envs.world import World


@dataclass
class PendingEvaluation:
    """An evaluation that goes on beside training."""

    step: int
    states: State
    results: Future
    """Of (results of every seed, seconds)."""
    checkpoint: tuple[int, dict[str, float]] | None = None
    """Update and clocks of the checkpoint of the same states, which is due once the rows are written."""


class Training:
    """One run: all its seeds, from its first update or its last checkpoint to its end.

    On an accelerator a policy is evaluated, on a copy of its states, while training goes on in short segments; the
    checkpoint of an evaluated step is written when its rows are. On a CPU both would want the same cores: in turn.
    """

    def __init__(
        self,
        agent: Agent,
        seeds: Sequence[int],
        protocol: Protocol,
        world: World,
        directory: RunDirectory,
        say: Callable[[str], None] = print,
        on_progress: Callable[[str, int, int], None] = lambda what, done, total: None,
        should_stop: Callable[[], bool] = lambda: False,
        overlap: bool | None = None,
        agent_axis: int | None = None,
    ):
        """`say` takes lines for the log; `on_progress` what is being done, how far it is, and how far it goes;
        `should_stop` is asked after every row, and a run that should stop saves a checkpoint and raises `Stopped`;
        `overlap`: whether to evaluate beside training (default: on an accelerator); with `agent_axis` 0 each seed has
        hyperparameters of its own.
        """
        self.agent, self.seeds, self.protocol, self.world, self.directory = agent, seeds, protocol, world, directory
        self.say, self.on_progress, self.should_stop, self.agent_axis = say, on_progress, should_stop, agent_axis
        self.offset = agent.pretraining_steps
        self.total = self.offset + protocol.steps
        self.steps = protocol.steps
        self.update = 0
        self.states = self.initial_states()
        self.clocks = {"train_seconds": 0.0, "eval_seconds": 0.0}
        self.train_table = Table(directory.path / "train.csv")
        self.eval_table = Table(directory.path / "eval.csv")
        self.diverged: dict[int, int] = {}
        self.code: list[str] = []
        """Digests of the code that made the numbers so far, in order: several where another code went on with them."""
        self.checkpoints = Checkpoints(directory.checkpoints)
        self.overlap = jax.default_backend() != "cpu" if overlap is None else overlap
        self.evaluator = ThreadPoolExecutor(1, "evaluation") if self.overlap else None
        self.pending: PendingEvaluation | None = None

    @property
    def step(self) -> int:
        """The protocol's step: updates so far, less the algorithm's own pretraining."""
        return self.update - self.offset

    @property
    def last(self) -> bool:
        """Whether a phase of training, and all that it should record, ends here."""
        return self.update == self.total

    @property
    def progress(self) -> int:
        """What a checkpoint is named by: updates so far."""
        return self.update

    def go_to(self, progress: int) -> None:
        """Be where a checkpoint was made."""
        self.update = progress

    def initial_states(self) -> State:
        """The states of all seeds before the first update."""
        return init_states(self.agent, jnp.asarray(self.seeds, jnp.uint32), self.agent_axis)

    def called(self, seed: int) -> str:
        """A seed's name in the log."""
        return f"seed {seed}"

    def resume(self) -> None:
        """Continue from the newest checkpoint that is whole, dropping the rows after it.

        Raises a UserError where rows before it are missing.
        """
        found = self.checkpoints.restore(self.states, self.say)
        if found:
            progress, self.states, record = found
            self.go_to(progress)
            self.check(record)
            self.clocks, self.code = record["clocks"], record["code"]
            self.diverged = {int(seed): step for seed, step in record["diverged"].items()}
            self.say(f"continuing from step {self.step}")
        elif self.train_table.rows:
            self.say("there is no checkpoint to continue from: beginning again")
        self.train_table.keep_until(self.step if found else -self.total)
        self.eval_table.keep_until(self.step if found else -1)
        if self.directory.code and self.directory.code not in self.code[-1:]:
            if self.code:
                self.say("the code has changed since: the run is marked as made by several")
            self.code = [*self.code, self.directory.code]

    def record(self, step: int, clocks: dict[str, float]) -> dict[str, Any]:
        """What a checkpoint keeps beside the states: clocks, divergence, code, and digests of the rows up to it."""
        diverged = {str(seed): at for seed, at in self.diverged.items() if at <= step}
        tables = {table.path.name: table.vouch(step) for table in (self.train_table, self.eval_table)}
        return {"clocks": clocks, "diverged": diverged, "code": self.code, "tables": tables}

    def check(self, record: dict[str, Any]) -> None:
        """Raise a UserError where files outside the checkpoint are not those that went with it."""
        for table in (self.train_table, self.eval_table):
            table.check(self.step, record["tables"][table.path.name])

    def run(self) -> None:
        """Train to the end."""
        try:
            self.train()
        finally:
            if self.evaluator:
                self.evaluator.shutdown(wait=False, cancel_futures=True)
            self.checkpoints.close()

    def train(self) -> None:
        """Do what is left."""
        self.resume()
        self.set_status("running")
        self.learn()
        self.finish_evaluation()
        self.set_status("done")

    def learn(self) -> None:
        """Make the updates that are left, and all that is due between them."""
        if self.protocol.eval_first and self.update == 0 and self.offset == 0:
            self.evaluate_first()
        while self.update < self.total:
            if self.update == self.offset > 0:
                self.begin("training")
            started, begun = time.perf_counter(), self.update
            metrics = self.train_until(self.next_row())
            seconds = time.perf_counter() - started
            self.clocks["train_seconds"] += seconds
            self.after_row(metrics, (self.update - begun) / seconds)

    def begin(self, phase: str) -> None:
        """Begin a phase. The checkpoint of where it begins is of the states before, so that a run that goes on from
        there begins the phase as an undisturbed one does.
        """
        self.states = begin(self.agent, self.states, phase, self.agent_axis)

    def next_row(self) -> int:
        """The update after which the next row of train.csv is due."""
        log_every = self.protocol.log_every
        end = min(self.total, self.update + log_every - self.step % log_every)
        return min(end, self.offset) if self.update < self.offset else end

    def train_until(self, end: int) -> dict[str, np.ndarray]:
        """Make the updates before update `end`; return each metric's mean over them, (S,)."""
        made: list[tuple[int, dict[str, Array]]] = []
        while self.update < end:
            length, cycle = self.next_segment(end)
            data = self.world.data_for(self.update)
            self.states, metrics = run_segment(self.agent, self.states, data, length, cycle, self.agent_axis)
            del data  # the world may let go of it once the device has done with it
            made.append((length, metrics))
            if self.pending or self.world.next_change(self.update) == self.update + length:
                jax.block_until_ready(metrics)
            self.update += length
        return mean_metrics(made)

    def next_segment(self, end: int) -> tuple[int, tuple[str, ...]]:
        """Length and cycle of the next segment: up to `end`, to other data, or to where another cycle begins."""
        cycle, until = self.agent.cycle(self.update)
        ends = [end, until, self.world.next_change(self.update)]
        length = min(end for end in ends if end is not None) - self.update
        if self.overlap:  # whether or not an evaluation is under way: rows must not depend on how long it takes
            length = min(length, BLOCK + len(cycle) - 1)
        if length < len(cycle):
            return length, cycle[:length]
        return length - length % len(cycle), tuple(cycle)

    def after_row(self, metrics: dict[str, np.ndarray], rate: float) -> None:
        """Write what the updates since the last row gave: rows first, then the checkpoint that vouches for them."""
        step, protocol, last = self.step, self.protocol, self.last
        self.note_divergence(metrics)
        for i, seed in enumerate(self.seeds):
            if metrics and seed not in self.diverged:
                self.train_table.add(step, seed, {name: float(values[i]) for name, values in metrics.items()})
        self.train_table.save()
        if self.pending and self.pending.results.done():
            self.finish_evaluation()
        if step > 0 and (step % protocol.eval_every == 0 or last):
            self.evaluate(self.states, step)
        stopping = self.should_stop() and not last
        if step % protocol.checkpoint_every == 0 or last or stopping:
            self.checkpoint(step)
        self.set_status("running", rate)
        self.on_progress("training", self.offset + step, self.offset + self.steps)
        if stopping:
            self.finish_evaluation()
            raise Stopped(f"asked to stop; saved at step {step}")

    def checkpoint(self, step: int) -> None:
        """Write a checkpoint, after the rows of all evaluations up to it."""
        if self.pending and self.pending.step == step:
            self.pending.checkpoint = self.progress, dict(self.clocks)
            return
        self.finish_evaluation()
        self.checkpoints.save(self.progress, self.states, self.record(step, self.clocks))

    def note_divergence(self, metrics: dict[str, np.ndarray]) -> None:
        """A seed whose loss is no longer finite has diverged; the others go on."""
        if not metrics:
            return
        finite = np.all([np.isfinite(values) for values in metrics.values()], axis=0)
        for i, seed in enumerate(self.seeds):
            if not finite[i] and seed not in self.diverged:
                self.diverged[seed] = self.step
                self.say(f"{self.called(seed)} diverged: its loss is not finite at step {self.step}")

    def evaluate_first(self) -> None:
        """Evaluate after the first update, made on a copy: the run itself goes on from its start in whole segments."""
        copy = jax.tree.map(jnp.copy, self.states)
        first = self.agent.cycle(0)[0][:1]
        states, _ = run_segment(self.agent, copy, self.world.data_for(0), 1, first, self.agent_axis)
        self.evaluate(states, 1)

    def evaluate(self, states: State, step: int) -> None:
        """Evaluate every seed that has not diverged, now or beside the training that follows."""
        self.finish_evaluation()
        active = [seed not in self.diverged for seed in self.seeds]
        if self.evaluator:
            copy = jax.tree.map(jnp.copy, states)
            self.pending = PendingEvaluation(step, copy, self.evaluator.submit(self.play, copy, step, active, None))
        else:
            progress = partial(self.on_progress, f"evaluating at step {step}")
            self.add_evaluation(step, *self.play(states, step, active, progress))

    def play(
        self, states: State, step: int, active: Sequence[bool], on_progress: Callable[[int, int], None] | None
    ) -> tuple[list, float]:
        """Results of the active seeds' episodes (None for the others), and the seconds that they took."""
        started = time.perf_counter()
        results: list = [None] * len(self.seeds)
        if any(active):
            results = self.world.evaluate(
                lambda observations, ids: act(self.agent, states, observations, ids, self.agent_axis),
                self.seeds,
                self.protocol.eval_episodes,
                step,
                active=active,
                on_progress=on_progress,
            )
        return results, time.perf_counter() - started

    def add_evaluation(self, step: int, results: Sequence, seconds: float) -> None:
        """Write the rows of an evaluation."""
        for seed, result in zip(self.seeds, results, strict=True):
            if result is not None:
                self.eval_table.add(step, seed, summarise(result))
                self.say(f"step {step} {self.called(seed)}: success {result.success.mean():.2f}")
        self.eval_table.save()
        self.clocks["eval_seconds"] += seconds

    def finish_evaluation(self) -> None:
        """Wait for the evaluation under way, if there is one; write its rows, then the checkpoint that they precede."""
        if self.pending is None:
            return
        pending, self.pending = self.pending, None
        results, seconds = pending.results.result()
        self.add_evaluation(pending.step, results, seconds)
        if pending.checkpoint:
            update, clocks = pending.checkpoint
            clocks["eval_seconds"] += seconds
            self.checkpoints.save(update, pending.states, self.record(pending.step, clocks))

    def set_status(self, state: str, rate: float | None = None) -> None:
        """Record where the run is."""
        values: dict[str, Any] = dict(state=state, step=self.step, steps=self.steps, error=None)
        if rate is not None:
            values["updates_per_second"] = round(rate, 2)
        diverged = {str(seed): step for seed, step in self.diverged.items()}
        clocks = {name: round(seconds, 2) for name, seconds in self.clocks.items()}
        self.directory.set_status(**values, diverged=diverged, code=self.code, **clocks)


def mean_metrics(made: Sequence[tuple[int, dict[str, Array]]]) -> dict[str, np.ndarray]:
    """Each metric's mean over the updates of several segments, (S,), from (updates, means over them) of each."""
    sums: dict[str, np.ndarray] = {}
    counts: dict[str, int] = {}
    for length, metrics in jax.device_get(made):
        for name, values in metrics.items():
            sums[name] = sums.get(name, 0.0) + length * values.astype(np.float64)
            counts[name] = counts.get(name, 0) + length
    return {name: sums[name] / counts[name] for name in sums}


def summarise(result) -> dict[str, float | int]:
    """An evaluation row: means over episodes."""
    return {
        "episodes": len(result.success),
        "success": float(result.success.mean()),
        "return": float(result.returns.mean()),
        "length": float(result.lengths.mean()),
    }
