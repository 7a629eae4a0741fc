"""Doing runs: one, or several one after the other for a launcher, which learns how each ended."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from benchmark.common.errors import Stopped, UserError, summary
from benchmark.common.options import Parser
from benchmark.planning.run import Run
from benchmark.runs import provenance
from benchmark.runs.code import own_files
from benchmark.runs.protocol import Online
from benchmark.runs.record import Busy, RunDirectory
from benchmark.runs.run import RunSpec
from envs.family import family_of
from envs.tasks import Task

STOP_SIGNAL = signal.SIGUSR2
"""Asks a run to save a checkpoint after its next row and to stop; Slurm sends it before a job's time is up."""
STOP_SIGNALS = (STOP_SIGNAL, signal.SIGTERM)
"""SIGTERM asks the same: Slurm sends it to what it cancels or preempts."""

stop_asked = threading.Event()


def execute(spec: RunSpec, quiet: bool = False) -> None:
    """Do a run, from its start or its last checkpoint. What goes wrong is recorded in its status and raised."""
    run = Run(spec)
    asked, _ = run.config, run.data_path  # where these cannot be is said before a folder is made for the run
    with run.directory as directory:
        directory.check_config(asked, own_files(spec.agent))
        if directory.status.get("state") == "done":
            other = run.other_code()
            print(f"{run.path} is finished already" + (f" (made by {other})" if other else ""))
            return
        try:
            _train(run, directory, quiet)
        except (KeyboardInterrupt, Stopped) as error:
            directory.record_end("interrupted", str(error) or "interrupted")
            raise
        except BaseException as error:
            details = "" if isinstance(error, UserError) else "\n" + traceback.format_exc()
            directory.record_end("failed", summary(error) + details)
            if isinstance(error, Exception):
                raise
            raise UserError(f"{spec.label} on {spec.task} ended by {summary(error)}") from error


def _train(run: Run, directory: RunDirectory, quiet: bool) -> None:
    spec, task, cls = run.spec, run.task, run.agent_class
    if spec.protocol.steps == 0:
        directory.add_start({**provenance.where(spec.agent), "hyperparameters": spec.origins})
        directory.set_status(state="done", step=0, steps=0, diverged={}, error=None)
        return
    from benchmark.loop.compiled import keep_programs
    from benchmark.loop.device import device_name
    from benchmark.loop.progress import RunProgress
    from envs.world import environments_for

    keep_programs()
    path = run.ensure_data()
    with _signals_for_this_process_alone():
        environments = environments_for(len(spec.seeds), spec.protocol.eval_episodes)
        world = family_of(task).open_world(task, path, environments, cls.sampler, run.hyperparameters.chunk_length)
    try:
        made = provenance.collect({"source": run.data_source, **world.source}, device_name(), spec.agent)
        directory.add_start({**made, "hyperparameters": spec.origins})
        data = world.data_for(0)
        agent = cls(run.hyperparameters, data.observation_dim, data.action_dim)
        del data  # one shard of several: only the world may hold it
        with (
            RunProgress(f"{spec.shown_as or cls.name} {task.name}", directory.path / "log.txt", quiet) as progress,
            _training_of(spec.online, task, spec.seeds) as make_training,
        ):
            training = make_training(
                *(agent, spec.seeds, spec.protocol, world, directory),
                say=progress.say,
                on_progress=progress.update,
                should_stop=stop_asked.is_set,
            )
            with _tracked(run, training):
                training.run()
    finally:
        world.close()


@contextlib.contextmanager
def _training_of(online: Online | None, task: Task, seeds: Sequence[int]) -> Iterator[Callable[..., Any]]:
    """What makes the run's training; where it has an online phase, with environments that end with it."""
    from benchmark.loop.training import Training

    if online is None:
        yield Training
        return
    from benchmark.loop.online import OnlineTraining

    with _signals_for_this_process_alone():
        live = family_of(task).open_live(task, seeds)
    try:
        yield functools.partial(OnlineTraining, online=online, live=live)
    finally:
        live.close()


@contextlib.contextmanager
def _tracked(run: Run, training) -> Iterator[None]:
    """Send what training records to W&B too, where that is asked."""
    if run.spec.wandb is None:
        yield
        return
    from benchmark.loop.tracking import Tracker

    tracker = Tracker(run.spec.wandb, run.path, run.config, training.say)
    on_progress = training.on_progress

    def send(*progress) -> None:
        on_progress(*progress)
        tracker.send(train=training.train_table, eval=training.eval_table)

    training.on_progress = send
    try:
        yield
    finally:
        tracker.close()


@contextlib.contextmanager
def _signals_for_this_process_alone() -> Iterator[None]:
    """Processes started within never see the signals that ask to stop, which Slurm sends to all processes of a job:
    what steps the environments is still needed to save.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)


def serve(arguments: Sequence[str]) -> int:
    """How a launcher starts runs: do those of standard input, a RunSpec a line up to an empty one, and write how each
    ended to the pipe whose number is given.

    Ends at once with the launcher, which holds the other end of standard input. Returns the number of runs that failed.
    """
    parser = Parser()
    parser.add_argument("ends", type=int)
    parser.add_argument("--cores", help="the processor cores to use, separated by commas")
    options = parser.parse_args(arguments)
    if options.cores and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, [int(core) for core in options.cores.split(",")])
    for number in STOP_SIGNALS:
        signal.signal(number, lambda *_: stop_asked.set())
    specs = list(_specs_of_the_launcher())
    threading.Thread(target=_end_with_the_launcher, daemon=True).start()
    os.set_inheritable(options.ends, False)
    with open(options.ends, "w") as ends:
        return execute_all(specs, lambda state, reason: print(json.dumps([state, reason]), file=ends, flush=True))


def _specs_of_the_launcher() -> Iterator[RunSpec]:
    while (line := sys.stdin.readline()) != "\n":
        if not line:
            sys.exit("the launcher is gone")
        yield RunSpec.from_json(line)


def _end_with_the_launcher() -> None:
    os.read(sys.stdin.fileno(), 1)  # returns at the end of the file; no lock of Python's is held meanwhile
    os.kill(os.getpid(), signal.SIGKILL)


def execute_all(specs: Sequence[RunSpec], on_end: Callable[[str, str], None] = lambda state, reason: None) -> int:
    """Do several runs one after the other; one that fails does not stop the rest. Returns the number that failed.

    `on_end` is told of each how it ended, "done", "failed", "busy" or "stopped", and why.
    """
    failed = 0
    for spec in specs:
        state, reason, details = "done", "", ""
        try:
            execute(spec)
        except Stopped as error:
            state, reason = "stopped", str(error)
        except Busy as error:
            state, reason = "busy", str(error)
        except Exception as error:
            failed += 1
            state, reason = "failed", summary(error)
            details = "" if isinstance(error, UserError) else traceback.format_exc()
        on_end(state, reason)  # before anything is printed, as that may go to a full disk
        with contextlib.suppress(OSError):
            _print_end(spec, state, reason, details)
        if stop_asked.is_set():
            break
    return failed


def _print_end(spec: RunSpec, state: str, reason: str, details: str) -> None:
    if reason:
        what = f"{spec.label} on {spec.task}, seeds {', '.join(map(str, spec.seeds))}"
        line = f"{'error' if state == 'failed' else state}: {what}: {reason}"
        print(f"{details}{line}", file=sys.stderr, flush=True)
