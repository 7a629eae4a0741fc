"""Evaluation: many environments stepped in worker processes, one batched policy call for all of them.

    with EvaluationPool("cube-single-play-singletask-task1-v0", slots=50) as pool:
        results = pool.evaluate(policy, seeds=[0, 1], episodes=50, step=100_000)

The policy is called once a round, for all runs (training seeds) and all their environments together; each
worker then executes a whole action chunk by itself. The result does not depend on the number of workers nor
on how they are scheduled: every episode is reset from (run seed, step, episode index), and the policy is told
the identity of every chunk that it is asked for, so that it can derive its noise from that alone.

This module does not import JAX, holds no global state, and may be used from a thread.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from multiprocessing.reduction import send_handle
from typing import Any

import numpy as np

Policy = Callable[[np.ndarray, np.ndarray], Any]
"""(observations (S, P, O) float32, ids (S, P, 4) uint32) -> action chunks (S, P, H, d), anything array-like.

S runs, P environments a run. The ids of a chunk are (run seed, step, episode index, chunk index within the
episode). Environments with nothing left to play keep their last observation and ids, so that the shapes are
constant during an evaluation; the actions given for them are ignored.
"""

SECONDS_TO_STOP = 1.0  # what close() grants the workers before it kills them


class EvaluationError(RuntimeError):
    """An environment, a worker process or the policy failed; says where, with the worker's traceback."""


class NotFinite(EvaluationError):
    """Policies gave actions that are not finite. Every other run's episodes are what they are without them."""

    def __init__(self, message: str, runs: Collection[int]):
        """`runs`: whose they were, as they are numbered in the policy's batch."""
        super().__init__(message)
        self.runs = tuple(runs)


def checked(task_name: str, actions: Any, ids: np.ndarray, playing: np.ndarray) -> np.ndarray:
    """A policy's chunks (S, P, H, d), clipped to [-1, 1] in float32.

    `ids` are those that it was asked with, and `playing` (S, P) says which chunks will be executed.

    Raises an EvaluationError for another shape, `NotFinite` where a chunk cannot be executed.
    """
    actions = np.asarray(actions, np.float32)
    runs, width = playing.shape
    if actions.ndim != 4 or actions.shape[:2] != playing.shape or 0 in actions.shape:
        raise EvaluationError(
            f"{task_name}: the policy gave actions of shape {actions.shape}, "
            f"not ({runs}, {width}, chunk length, action dimension)"
        )
    bad = playing & ~np.isfinite(actions).all(axis=(2, 3))
    if bad.any():
        seed, step, episode, chunk = ids[bad][0]
        raise NotFinite(
            f"{task_name}: the policy of run seed {seed} gave a non-finite action "
            f"at step {step}, episode {episode}, chunk {chunk}",
            np.flatnonzero(bad.any(axis=1)).tolist(),
        )
    return np.clip(actions, -1.0, 1.0)


@dataclass(frozen=True)
class EpisodeResults:
    """What one run's episodes gave, in the order of their index; each array has shape (episodes,).

    success: `info['success']` at the last step of each episode, 0 to 1.
    returns: undiscounted sum of the environment's rewards.
    lengths: number of steps.
    parts: of a task that asks for several things, by their names, whether each was so at the end, 0 or 1.
    """

    success: np.ndarray
    returns: np.ndarray
    lengths: np.ndarray
    parts: dict[str, np.ndarray] = field(default_factory=dict)


Outcome = tuple[float, float, int, dict[str, float]]
"""Of an episode: success, return, length, parts."""
UNPLAYED: Outcome = (np.nan, np.nan, 0, {})
"""Of an episode that was not asked for."""


def _results(outcomes: Sequence[Outcome]) -> EpisodeResults:
    """The results of a run from the outcomes of its episodes, in order."""
    success, returns, lengths, parts = zip(*outcomes, strict=True)
    names = dict.fromkeys(name for each in parts for name in each)
    of_parts = {name: np.array([each.get(name, np.nan) for each in parts]) for name in names}
    return EpisodeResults(np.array(success, float), np.array(returns, float), np.array(lengths, int), of_parts)


@dataclass
class _Slot:
    """One worker's place in an evaluation: whose episodes it plays, and how far it is."""

    connection: Connection
    name: str  # for messages
    place: tuple[int, int]  # (run, column) in the policy's batch
    seed: int
    step: int
    queue: list[int]  # episode indices; the first is under way once `started`
    started: bool = False
    chunk: int = 0

    def request(self, actions: np.ndarray | None) -> tuple[np.ndarray | None, tuple[int, int, int] | None]:
        """Return what to ask of the worker: the chunk to execute, and the episode to start when it may."""
        following = self.queue[1:] if self.started else self.queue
        episode = (self.seed, self.step, following[0]) if following else None
        return (None if actions is None else actions[self.place]), episode

    def advance(self, episode_ended: bool) -> None:
        """Count a reply of the worker, which started an episode, went on with one, or ended one."""
        if episode_ended:
            self.queue.pop(0)
        self.chunk = 0 if episode_ended or not self.started else self.chunk + 1
        self.started = True

    @property
    def chunk_ids(self) -> tuple[int, int, int, int]:
        """Return the identity of the chunk to ask the policy for next."""
        return self.seed, self.step, self.queue[0], self.chunk


class EvaluationPool:
    """A fixed set of environments of one task, each in a process of its own.

    The constructor returns at once and the environment is made meanwhile (seconds for manipulation tasks);
    `ready` waits for it, as does the first `evaluate`. Use as a context manager, or call `close`.

    Args:
        task_name: OGBench's name of the task. A part 'task{k}' of it is passed to `reset` as task to play.
        slots: number of environments, one process each; shared evenly by the runs evaluated together.
        max_episode_steps: a limit on the length of episodes, on top of the environment's own.
        make_env: makes the environment instead of OGBench; must be importable by name (it is pickled).
        reply_timeout: seconds after which a silent worker counts as failed.
    """

    def __init__(
        self,
        task_name: str,
        slots: int,
        *,
        max_episode_steps: int | None = None,
        make_env: Callable[[], Any] | None = None,
        reply_timeout: float = 600.0,
    ) -> None:
        if slots < 1:
            raise ValueError(f"slots is {slots}; at least 1 is needed")
        self.task_name = task_name
        self.slots = slots
        self._reply_timeout = reply_timeout
        self._connections: list[Connection] = []
        self._closed = False
        self._lock = threading.RLock()  # one evaluation at a time
        self._ending = threading.Lock()  # threads that close at once must not close a file twice: it may be another's
        request = pickle.dumps((make_env, task_name, max_episode_steps))  # before the process: it may raise
        self._control, theirs = Pipe()
        with theirs:
            self._nursery = subprocess.Popen(
                [sys.executable, "-W", "ignore", "-m", "envs.play.worker", str(theirs.fileno())],
                env=worker_environment(),
                pass_fds=[theirs.fileno()],
            )
        self._control.send_bytes(request)

    def __enter__(self) -> EvaluationPool:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def ready(self) -> None:
        """Wait until every environment is there. Raises EvaluationError if it could not be made."""
        with self._lock:
            if self._closed:
                raise EvaluationError(f"{self.task_name}: the evaluation pool is closed")
            if self._connections:
                return
            try:
                if (failure := self._control.recv()) is not None:
                    raise EvaluationError(f"{self.task_name}: the environment could not be made\n{failure}")
                for _ in range(self.slots):
                    ours, theirs = Pipe()
                    self._connections.append(ours)
                    with theirs:
                        send_handle(self._control, theirs.fileno(), self._nursery.pid)
                        self._control.recv()
            except (EOFError, OSError) as error:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._nursery.wait(SECONDS_TO_STOP)  # for the exit status to be its own, not a kill's
                self.close()
                raise EvaluationError(
                    f"{self.task_name}: the process that makes the environment died "
                    f"(exit status {self._nursery.returncode}); its output on stderr may say why"
                ) from error
            except BaseException:
                self.close()
                raise

    def evaluate(
        self,
        policy: Policy,
        seeds: Sequence[int],
        episodes: int,
        step: int,
        *,
        active: Sequence[bool] | None = None,
        on_progress: Callable[[int, int], None] | None = None,
        only: Collection[int] | None = None,
    ) -> list[EpisodeResults | None]:
        """Play exactly `episodes` episodes for each run; return one result a run, in the order of `seeds`.

        Episode e of a run goes to the run's environment e mod P, P being `slots // len(seeds)` and at most
        `episodes`: a schedule fixed beforehand, so that short episodes are not over-represented.

        Args:
            policy: see `Policy`. Actions are clipped to [-1, 1].
            seeds: the seed of each run, in [0, 2**32).
            episodes: number of episodes of each run.
            step: the training step that is evaluated, in [0, 2**32); it and the seed fix the initial states.
            active: which runs to play, e.g. without those that diverged; the others' result is None and their
                observations are zeros. All by default.
            on_progress: called as on_progress(episodes finished, episodes in all) when some have finished.
            only: indices of the episodes to play, as they are among all; the results of the others are NaN (lengths 0).
                All by default.

        Raises:
            EvaluationError: the policy gave a wrong shape or, `NotFinite`, a non-finite action (the pool remains
                usable), an environment raised, or a worker died (the pool is then closed).
            ValueError: more runs than slots, or a number out of range.
        """
        seeds = list(seeds)
        active = [True] * len(seeds) if active is None else list(active)
        _check_request(seeds, episodes, step, active, self.slots)
        with self._lock:
            self.ready()
            width = min(self.slots // len(seeds), episodes)
            slots = [
                _Slot(
                    connection=self._connections[run * width + column],
                    name=f"slot {run * width + column}",
                    place=(run, column),
                    seed=seed,
                    step=step,
                    queue=[e for e in range(column, episodes, width) if only is None or e in only],
                )
                for run, seed in enumerate(seeds)
                if active[run]
                for column in range(width)
            ]
            slots = [slot for slot in slots if slot.queue]
            outcomes = self._play(policy, slots, (len(seeds), width), episodes, on_progress)
        return [
            _results([outcomes.get((run, episode), UNPLAYED) for episode in range(episodes)]) if active[run] else None
            for run in range(len(seeds))
        ]

    def _play(
        self,
        policy: Policy,
        playing: list[_Slot],
        shape: tuple[int, int],
        episodes: int,
        on_progress: Callable[[int, int], None] | None,
    ) -> dict[tuple[int, int], Outcome]:
        """Alternate rounds of one chunk in every environment and one policy call until all episodes are played.

        Returns the outcome of every episode, by (run, index).
        """
        outcomes: dict[tuple[int, int], Outcome] = {}
        ids = np.zeros((*shape, 4), np.uint32)
        observations: np.ndarray | None = None  # its width is known with the first reply
        actions: np.ndarray | None = None  # none in the first round, which only resets
        done, total = 0, sum(len(slot.queue) for slot in playing)
        while playing:
            finished = 0
            for slot, (observation, outcome) in self._exchange(playing, actions):
                if outcome is not None:
                    outcomes[slot.place[0], slot.queue[0]] = outcome
                    finished += 1
                slot.advance(outcome is not None)
                if observations is None:
                    observations = np.zeros((*shape, *observation.shape), np.float32)
                observations[slot.place] = observation
            playing = [slot for slot in playing if slot.queue]
            for slot in playing:
                ids[slot.place] = slot.chunk_ids
            done += finished
            if finished and on_progress is not None:
                on_progress(done, total)
            if playing and observations is not None:
                # Copies, because JAX on the CPU may go on using the memory of what it is given.
                given = policy(observations.copy(), ids.copy())
                executed = np.zeros(shape, bool)
                executed[tuple(np.transpose([slot.place for slot in playing]))] = True
                actions = checked(self.task_name, given, ids, executed)
        return outcomes

    def _exchange(
        self, slots: list[_Slot], actions: np.ndarray | None
    ) -> list[tuple[_Slot, tuple[np.ndarray, Outcome | None]]]:
        """Send each slot its request and return (slot, reply) of all; on any failure close the pool and raise."""
        try:
            for slot in slots:
                try:
                    slot.connection.send(slot.request(actions))
                except OSError as error:
                    raise self._failure(slot, "the worker process died") from error
            replies = []
            for slot in slots:  # in turn: a round waits for the slowest of them anyway
                try:
                    if not slot.connection.poll(self._reply_timeout):
                        raise self._failure(slot, f"no reply for {self._reply_timeout:g} s")
                    observation, outcome, error_text = slot.connection.recv()
                except (EOFError, OSError) as error:
                    raise self._failure(slot, "the worker process died") from error
                if error_text is not None:
                    raise self._failure(slot, "the environment failed", f"\n{error_text}")
                replies.append((slot, (observation, outcome)))
            return replies
        except BaseException:  # replies may be under way: the workers' state is not known any more
            self.close()
            raise

    def _failure(self, slot: _Slot, what: str, details: str = "") -> EvaluationError:
        """Return an error that says where it happened."""
        where = f"{slot.name}, run seed {slot.seed}, step {slot.step}, episode {slot.queue[0]}"
        return EvaluationError(f"{self.task_name}: {what} ({where}){details}")

    def close(self) -> None:
        """End all worker processes; an evaluation under way in another thread fails. May be called twice."""
        self._closed = True
        with self._ending:
            if not self._control.closed:
                _hang_up(self._control)  # at which the nursery kills its children and ends
        if not self._connections:
            self._nursery.kill()  # nothing forked yet, and it may be seconds deep in making the environment
        try:
            self._nursery.wait(SECONDS_TO_STOP)
        except subprocess.TimeoutExpired:
            self._nursery.kill()
            self._nursery.wait()
        with self._lock, self._ending:  # not before: another thread may be reading from them
            for connection in [self._control, *self._connections]:
                connection.close()


def _check_request(seeds: list[int], episodes: int, step: int, active: list[bool], slots: int) -> None:
    """Raise ValueError, naming the value, where an evaluation cannot be played as asked."""
    if not 1 <= len(seeds) <= slots:
        raise ValueError(f"{len(seeds)} runs cannot share {slots} slots: each run needs at least one")
    if len(active) != len(seeds):
        raise ValueError(f"active has {len(active)} entries for {len(seeds)} runs")
    if episodes < 1:
        raise ValueError(f"episodes is {episodes}; at least 1 is needed")
    for name, value in [("step", step), *(("seed", seed) for seed in seeds)]:
        if not 0 <= value < 2**32:
            raise ValueError(f"{name} {value} is outside [0, 2**32)")


def _hang_up(connection: Connection) -> None:
    """End the conversation for both ends and for every reader of either, leaving the file open."""
    with socket.socket(fileno=os.dup(connection.fileno())) as duplicate, contextlib.suppress(OSError):
        duplicate.shutdown(socket.SHUT_RDWR)  # fails where the other end is gone


def worker_environment() -> dict[str, str]:
    """Return the environment variables of worker processes: this process's import path, one thread each."""
    path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
    threads = dict.fromkeys(["OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"], "1")
    return {**os.environ, **threads, "PYTHONPATH": path}
