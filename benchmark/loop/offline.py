"""The training loop: compiled segments of updates for all seeds of a run, and evaluation, records and checkpoints
between them. Python runs only between segments.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from agents.base import Agent, State
from benchmark.common.errors import Stopped, UserError
from benchmark.loop.checkpoints import Checkpoints
from benchmark.loop.evaluator import Evaluation, Evaluator
from benchmark.loop.experiment import Experiment, Watch
from benchmark.loop.recorder import Recorder
from benchmark.loop.segments import BLOCK, begin, init_states, run_segment
from benchmark.loop.starting import kept_for_training, started


class Training:
    """One run: all its seeds, from its first update or its last checkpoint to its end.

    Where a policy is evaluated beside training, segments are short, and the checkpoint of an evaluated step is written
    when its rows are.
    """

    def __init__(self, experiment: Experiment, evaluator: Evaluator, recorder: Recorder, watch: Watch):
        """All are of the same run; `watch` is asked after every row whether to stop."""
        self.agent, self.world, self.protocol = experiment.agent, experiment.world, experiment.protocol
        self.evaluator, self.recorder, self.watch = evaluator, recorder, watch
        self.checkpoints = Checkpoints(recorder.directory.checkpoints)
        self.start, self.keep_checkpoints = experiment.start, experiment.keep_checkpoints
        self.keep_policies = experiment.keep_policies
        seeds = jnp.asarray(experiment.seeds, jnp.uint32)
        needs_data = type(self.agent).facts is not Agent.facts  # of several files, the first would be read for it
        self.states = init_states(self.agent, seeds, self.world.data_for(0) if needs_data else None)
        self.offset = self.agent.pretraining_steps
        self.end_of_updates = self.offset + self.protocol.steps
        self.end = self.end_of_updates
        """Where the run ends, counted as `progress` is."""
        self.progress = 0
        """How far it is: updates so far, and steps of a phase that follows them. Checkpoints are named by it."""
        self.saved = 0
        """The step of the newest checkpoint."""
        self.pending: Evaluation | None = None
        self.due: tuple[int, dict[str, float]] | None = None
        """Progress and clocks of the checkpoint that waits for the rows of the pending evaluation."""

    @property
    def step(self) -> int:
        """The protocol's step: progress, less the algorithm's own pretraining."""
        return self.progress - self.offset

    @property
    def phase_ends(self) -> bool:
        """Whether a phase of training, and all that it should record, ends here."""
        return self.progress in (self.end_of_updates, self.end)

    def run(self) -> None:
        """Do what is left, to the end."""
        try:
            self.resume()
            self.set_status("running")
            self.learn()
            self.finish_evaluation()
            self.checkpoints.wait()
            self.recorder.keep_policies(self.agent, self.states, self.step, at_end=True)
            self.set_status("done")
        except BaseException as error:
            self.close(error)
            raise
        self.close()
        if not self.keep_checkpoints:
            self.checkpoints.remove()

    def close(self, error: BaseException | None = None) -> None:
        """Let go of what is under way, after a checkpoint is written. Where that fails too, after an `error`, both are
        said: as a rule one thing, such as a full disk, is behind both.
        """
        self.evaluator.close()
        if failed := self.checkpoints.close():
            if isinstance(error, UserError):
                raise UserError(f"{failed}; {error}") from error
            self.watch.say(failed)

    def resume(self) -> None:
        """Continue from the newest checkpoint that is whole, dropping the rows after it; where there is none,
        begin, with another run's networks where it starts from one.

        Raises a UserError where rows before it are missing, or that run is not what it was.
        """
        vouched = None
        if found := self.checkpoints.restore(self.states, self.watch.say):
            self.progress, self.states, vouched = found
            self.saved = self.step
        elif self.start:
            self.progress, self.states = started(self.agent, self.states, self.start)
            skipped = ", and goes without pretraining" if self.progress else ""
            self.watch.say(f"starts from {self.start}: {', '.join(self.start.networks)}{skipped}")
        self.recorder.go_on(self.step, vouched)

    def learn(self) -> None:
        """Make the updates that are left, and all that is due between them."""
        if self.protocol.eval_first and self.progress == 0 and self.offset == 0:
            self.evaluate_first()
        while self.progress < self.end_of_updates:
            if self.progress == self.offset > 0:
                self.begin("training")
            started, begun = time.perf_counter(), self.progress
            metrics = self.update_until(self.next_row())
            self.after_row(metrics, begun, time.perf_counter() - started)

    def begin(self, phase: str) -> None:
        """Begin a phase. The checkpoint of where it begins is of the states before, so that a run that goes on from
        there begins the phase as an undisturbed one does.
        """
        kept = kept_for_training(self.agent, self.start) if phase == "training" else ()
        self.states = begin(self.agent, self.states, phase, kept)

    def next_row(self) -> int:
        """The progress at which the next row of train.csv is due."""
        end = min(self.end_of_updates, self.offset + self.protocol.next_due(self.step))
        return min(end, self.offset) if self.progress < self.offset else end

    def update_until(self, end: int) -> dict[str, np.ndarray]:
        """Make the updates before update `end`; return each metric's mean over them, (S,)."""
        made: list[tuple[int, dict[str, Array]]] = []
        while self.progress < end:
            length, cycle = self.next_segment(end)
            data = self.world.data_for(self.progress)
            self.states, metrics = run_segment(self.agent, self.states, data, length, cycle)
            del data  # the world may let go of it once the device has done with it
            made.append((length, metrics))
            if self.pending or self.world.next_change(self.progress) == self.progress + length:
                jax.block_until_ready(metrics)
            self.progress += length
        return mean_metrics(made)

    def next_segment(self, end: int) -> tuple[int, tuple[str, ...]]:
        """Length and cycle of the next segment: up to `end`, to other data, or to where another cycle begins."""
        cycle, until = self.agent.cycle(self.progress)
        ends = [end, until, self.world.next_change(self.progress)]
        length = min(end for end in ends if end is not None) - self.progress
        if self.evaluator.beside:  # whether or not one is under way: rows must not depend on how long it takes
            length = min(length, BLOCK + len(cycle) - 1)
        if length < len(cycle):
            return length, cycle[:length]
        return length - length % len(cycle), tuple(cycle)

    def after_row(self, metrics: dict[str, np.ndarray], begun: int, seconds: float) -> None:
        """Write what came since the progress `begun`: rows first, then the checkpoint that vouches for them.

        `metrics` as `Recorder.add_updates` takes them.
        """
        step, protocol, last = self.step, self.protocol, self.phase_ends
        self.checkpoints.wait(only_if_over=True)
        self.recorder.clocks["train_seconds"] += seconds
        self.recorder.add_updates(step, metrics)
        if self.pending and self.pending.over:
            self.finish_evaluation()
        if step > 0 and (step % protocol.eval_every == 0 or last):
            self.evaluate(self.states, step)
        stopping = self.watch.should_stop() and not last
        if step % protocol.checkpoint_every == 0 or last or stopping:
            self.checkpoint()
        self.set_status("running", (self.progress - begun) / seconds)
        self.watch.on_progress("training", self.progress, self.end)
        if stopping:
            self.finish_evaluation()
            self.checkpoints.wait()
            raise Stopped(f"asked to stop; saved at step {self.saved}")

    def set_status(self, state: str, rate: float | None = None) -> None:
        """Record where the run is."""
        self.recorder.set_status(state, self.step, self.end - self.offset, rate)

    def checkpoint(self) -> None:
        """Have a checkpoint written, after the rows of all evaluations up to it."""
        self.saved = self.step
        if self.pending and self.pending.step == self.step:
            self.due = self.progress, dict(self.recorder.clocks)
            return
        self.finish_evaluation()
        self.checkpoints.save(self.progress, self.states, self.recorder.vouch(self.step, self.recorder.clocks))

    def evaluate_first(self) -> None:
        """Evaluate after the first update, made on a copy: the run itself goes on from its start in whole segments."""
        copy = jax.tree.map(jnp.copy, self.states)
        first = self.agent.cycle(0)[0][:1]
        states, _ = run_segment(self.agent, copy, self.world.data_for(0), 1, first)
        self.evaluate(states, 1)

    def evaluate(self, states: State, step: int) -> None:
        """Evaluate every seed that has not diverged, now or beside the training that follows."""
        self.finish_evaluation()
        self.pending = self.evaluator.begin(states, step, self.recorder.active)
        if not self.evaluator.beside:
            self.finish_evaluation()

    def finish_evaluation(self) -> None:
        """Wait for the evaluation under way, if there is one; write its rows, then the checkpoint that they precede."""
        if self.pending is None:
            return
        (pending, self.pending), (due, self.due) = (self.pending, None), (self.due, None)
        results, seconds = pending.results()
        self.recorder.add_evaluation(pending.step, results, seconds)
        if self.keep_policies:
            self.recorder.keep_policies(self.agent, pending.states, pending.step, at_end=False)
        if due:
            progress, clocks = due
            clocks["eval_seconds"] += seconds
            self.checkpoints.save(progress, pending.states, self.recorder.vouch(pending.step, clocks))


def mean_metrics(made: Sequence[tuple[int, dict[str, Array]]]) -> dict[str, np.ndarray]:
    """Each metric's mean over the updates of several segments, (S,), from (updates, means over them) of each."""
    sums: dict[str, np.ndarray] = {}
    counts: dict[str, int] = {}
    for length, metrics in jax.device_get(made):
        for name, values in metrics.items():
            sums[name] = sums.get(name, 0.0) + length * values.astype(np.float64)
            counts[name] = counts.get(name, 0) + length
    return {name: sums[name] / counts[name] for name in sums}
