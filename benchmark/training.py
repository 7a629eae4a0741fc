"""The training loop: compiled segments of updates for all seeds of a run, and evaluation, records and checkpoints
between them. Python runs only between segments.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from jax import Array

from agents.base import Agent, State
from benchmark.errors import Stopped, UserError, summary
from benchmark.records import ANEW, RunDirectory, Table, differences, move_aside, write_json
from benchmark.suites import Protocol
from envs.dataset import SAMPLERS, Dataset
from envs.world import World

SAMPLING = 0x5A  # folded into an update's key for its batch, so that batch and noise are independent
CHECKSUMS = "checksums.json"
BLOCK = 50  # updates of a segment where evaluation goes on beside training: a policy waits for at most one segment

# ---------------------------------------------------------------------------------------------- compiled parts


# Initialisation runs once and has a random draw for every array: compiled plainly it takes seconds, as it is a tenth.
@partial(
    jax.jit,
    static_argnames="agent_axis",
    compiler_options={"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True},
)
def init_states(agent: Agent, seeds: Array, agent_axis: int | None = None) -> State:
    """Initial states of all seeds, stacked on a leading axis. Seed k's does not depend on the others."""
    return jax.vmap(lambda agent, seed: agent.init(jax.random.PRNGKey(seed)), (agent_axis, 0))(agent, seeds)


@partial(jax.jit, static_argnames=("length", "cycle", "agent_axis"), donate_argnames="states")
def run_segment(
    agent: Agent, states: State, data: Dataset, length: int, cycle: Sequence[str], agent_axis: int | None = None
) -> tuple[State, dict[str, Array]]:
    """Run `length` updates of every seed; return the states and each metric's mean over the segment, (S,).

    `cycle` names the agent's update methods that follow one another (see `Agent.cycle`); `length` is a multiple of
    theirs. With `agent_axis` 0 each seed has hyperparameters of its own.
    """

    def segment(agent, state):
        def one_cycle(state, _):
            metrics: dict[str, Array] = {}
            for name, repeats in groupby(parts_of(agent, cycle)):
                state, new = repeated(partial(call, agent, name, data), state, len(list(repeats)))
                metrics |= new
            return state, metrics

        state, metrics = jax.lax.scan(one_cycle, state, length=length // len(cycle))
        return state, jax.tree.map(lambda values: values.mean(axis=0), metrics)

    with named_precision(agent.config.matmul_precision):
        return over_seeds(segment, agent, states, agent_axis)


def named_precision(name: str):
    """A context in which matrix products are traced at one of the precisions that an agent may have.

    bfloat16 is asked for by JAX's name of the arithmetic: what it calls "bfloat16" is a device's default.
    """
    return jax.default_matmul_precision("BF16_BF16_F32" if name == "bfloat16" else name)


def over_seeds(function: Callable, agent: Agent, states: State, agent_axis: int | None) -> Any:
    """Apply function(agent, state) to every seed, and stack.

    All at once on an accelerator, which one seed does not fill. On a CPU one after the other: one seed's matrix
    products fill it, and batched ones are a quarter slower there.
    """
    if jax.default_backend() != "cpu":
        return jax.vmap(function, (agent_axis, 0))(agent, states)
    if agent_axis is None:
        return jax.lax.map(lambda state: function(agent, state), states)
    return jax.lax.map(lambda pair: function(*pair), (agent, states))


def parts_of(agent: Agent, cycle: Sequence[str]) -> list[str]:
    """The methods to call for a pattern of updates: instead of one that is composed of two, the two."""
    return [part for name in cycle for part in agent.composed.get(name, (name,))]


def call(agent: Agent, name: str, data: Dataset, state: State) -> tuple[State, dict[str, Array]]:
    """Call an update method, or one part of it, on the batch that the update draws."""
    counted = name in {second for _, second in agent.composed.values()}
    return getattr(agent, name)(state, sample(agent, state, data, counted))


def repeated(function: Callable[[State], tuple[State, dict]], state: State, times: int) -> tuple[State, dict]:
    """Call several times on the state, compiled once; return the state and the last metrics."""
    if times == 1:
        return function(state)
    state, metrics = jax.lax.scan(lambda state, _: function(state), state, length=times)
    return state, jax.tree.map(lambda values: values[-1], metrics)


def sample(agent: Agent, state: State, data: Dataset, counted: bool = False):
    """Draw, as the agent was published with, the batch of the next update, or of the one that `state` counted last."""
    rng = jax.random.fold_in(jax.random.fold_in(state.rng, state.step - int(counted)), SAMPLING)
    config = agent.config
    return SAMPLERS[agent.sampler](data, rng, config.batch_size, config.chunk_length, config.discount)


@partial(jax.jit, static_argnames="agent_axis")
def act(agent: Agent, states: State, observations: Array, ids: Array, agent_axis: int | None = None) -> Array:
    """Action chunks (S, P, H, d) for observations (S, P, O); the noise of each is drawn from its ids (S, P, n)."""

    def one(agent, state, observation, identity):
        rng = jax.random.PRNGKey(identity[0])
        for word in identity[1:]:
            rng = jax.random.fold_in(rng, word)
        return agent.act(state, observation[None], rng)[0]

    with named_precision(agent.config.matmul_precision):
        return jax.vmap(jax.vmap(one, (None, None, 0, 0)), (agent_axis, 0, 0, 0))(agent, states, observations, ids)


# ------------------------------------------------------------------------------------------------ checkpoints


class Checkpoints:
    """The last two checkpoints of a run, written atomically, each with a checksum of every file, written after them.

    One whose files are not those that were written is damaged, and passed over for the one before.
    """

    def __init__(self, folder: Path, read_only: bool = False):
        """`folder` is made if needed, and what is damaged in it is renamed; not where it is only to be read."""
        self.read_only = read_only
        self.folder = folder.absolute()
        options = ocp.CheckpointManagerOptions(max_to_keep=2, enable_async_checkpointing=False, create=not read_only)
        self.manager = ocp.CheckpointManager(self.folder, options=options)

    def save(self, update: int, states: State, record: dict[str, Any]) -> None:
        """Write the states after `update` updates, and what else is to be known of that moment, which JSON can hold.

        Raises a UserError where that fails, e.g. on a full disk.
        """
        record = record | {"arrays": described(states)}
        items = ocp.args.Composite(states=ocp.args.StandardSave(states), record=ocp.args.JsonSave(record))
        try:
            self.manager.save(update, args=items)
            self.manager.wait_until_finished()
            write_json(self.folder / str(update) / CHECKSUMS, checksums(self.folder / str(update)))
        except Exception as error:
            reason = f"cannot write the checkpoint of update {update} to {self.folder}: {summary(error)}"
            raise UserError(reason) from error

    def restore(self, like: State, say: Callable[[str], None]) -> tuple[int, State, dict[str, Any]] | None:
        """Return (updates, states, record) of the newest checkpoint that is whole, None where there is none.

        Raises a UserError where its arrays are not those of `like`.
        """
        for update in sorted(self.manager.all_steps(), reverse=True):
            folder = self.folder / str(update)
            damage = damage_of(folder)
            if damage:
                kept = "" if self.read_only else f" (it is kept in {move_aside(folder, f'damaged-{update}')})"
                say(f"the checkpoint of update {update} is damaged: {damage}{kept}; using the one before")
                continue
            self.manager.reload()  # it knows those that were renamed
            record = self.manager.restore(update, args=ocp.args.Composite(record=ocp.args.JsonRestore())).record
            differing = differences(record.pop("arrays"), described(like))
            if differing:
                more = f" and {len(differing) - 3} more" if len(differing) > 3 else ""
                raise UserError(
                    f"the checkpoint {folder} does not fit the agent: {'; '.join(differing[:3])}{more}; go on with the "
                    f"agent's code and hyperparameters as they were, or begin again with {ANEW}"
                )
            items = ocp.args.Composite(states=ocp.args.StandardRestore(like))
            states = self.manager.restore(update, args=items).states
            # Copied from the host, because Orbax commits arrays to their device, and jit compiles anew for those.
            return update, jax.tree.map(lambda leaf: jnp.array(np.asarray(leaf)), states), record
        self.manager.reload()
        return None

    def close(self) -> None:
        """Release the folder."""
        self.manager.close()


def described(states: State) -> dict[str, str]:
    """Name, shape and type of every array, as text."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(states)
    names = [jax.tree_util.keystr(path, simple=True, separator="/") for path, _ in leaves]
    return {name: f"{leaf.shape} {leaf.dtype}" for name, (_, leaf) in zip(names, leaves, strict=True)}


def checksums(folder: Path) -> dict[str, str]:
    """SHA-256 of every file of a checkpoint but the one that holds these."""
    files = {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}
    return {name: file_digest(path) for name, path in sorted(files.items()) if name != CHECKSUMS}


def file_digest(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def damage_of(folder: Path) -> str:
    """What is wrong with a checkpoint's files, "" where they are those that were written."""
    try:
        wanted, found = json.loads((folder / CHECKSUMS).read_bytes()), checksums(folder)
    except FileNotFoundError:
        return f"it has no {CHECKSUMS}, which is written last"
    except (OSError, ValueError) as error:
        return f"{CHECKSUMS} cannot be read ({type(error).__name__})"
    if wanted == found:
        return ""
    if not isinstance(wanted, dict):
        return f"{CHECKSUMS} does not hold what it should"
    names = [name for name in {**wanted, **found} if wanted.get(name) != found.get(name)]
    return f"{names[0]} is not as it was written" + (f", nor are {len(names) - 1} others" if names[1:] else "")


# --------------------------------------------------------------------------------------------------- the loop


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
            started, begun = time.perf_counter(), self.update
            metrics = self.train_until(self.next_row())
            seconds = time.perf_counter() - started
            self.clocks["train_seconds"] += seconds
            self.after_row(metrics, (self.update - begun) / seconds)

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
