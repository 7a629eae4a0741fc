"""One run: `python -m benchmark.train --agent=rql --task=... --seeds=0-3 --set alpha=10 --set expectile=0.9`.

A run trains one agent on one task, several seeds at once in one process. Started again with the same command it
continues from its last checkpoint; a finished run is not run again.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import json
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmark.errors import Stopped, UserError, run_main, summary
from benchmark.suites import PROTOCOLS, Generated, Online, Protocol, get_protocol
from envs.tasks import Task, get_task

STOP_SIGNAL = signal.SIGUSR2
"""Asks a run to save a checkpoint after its next row and to stop; Slurm sends it before a job's time is up."""
STOP_SIGNALS = (STOP_SIGNAL, signal.SIGTERM)
"""SIGTERM asks the same: Slurm sends it to what it cancels or preempts."""

stop_asked = threading.Event()


@dataclass(frozen=True)
class RunSpec:
    """Everything that a run is asked to do; plain values, so that it travels to another machine as JSON."""

    agent: str
    """Name of an agent, or the path of its file."""
    task: str
    seeds: tuple[int, ...]
    settings: dict[str, Any]
    """Hyperparameters that differ from the agent's defaults."""
    protocol: Protocol
    out: str
    suite: str | None = None
    data: Generated | None = None
    data_dir: str | None = None
    wandb: dict[str, str] | None = None
    """Where W&B is to get a copy of the records, see `benchmark.tracking`."""
    online: Online | None = None
    """The phase after the offline one, if there is one."""

    @property
    def label(self) -> str:
        """The agent as tables show it: its name, or that of its file."""
        return Path(self.agent).stem if self.agent.endswith(".py") else self.agent

    def to_json(self) -> str:
        """As one line of text."""
        return json.dumps(asdict(self))

    @staticmethod
    def from_json(text: str) -> RunSpec:
        """The inverse of `to_json`."""
        values = json.loads(text)
        values["protocol"] = Protocol(**values["protocol"])
        values["seeds"] = tuple(values["seeds"])
        values["data"] = Generated(**values["data"]) if values["data"] else None
        values["online"] = Online(**values["online"]) if values.get("online") else None
        return RunSpec(**values)


def run_path(spec: RunSpec) -> Path:
    """The run's directory; reading many of them need not import the agents."""
    from benchmark.records import format_seeds, run_directory

    name = spec.agent
    if name.endswith(".py"):
        from benchmark.configure import agent_class

        name = agent_class(name).name
    return run_directory(Path(spec.out), name, spec.task, format_seeds(spec.seeds))


def run_config(spec: RunSpec) -> dict[str, Any]:
    """What is asked of a run, as its config.json holds it. Raises a UserError for what cannot be done."""
    from benchmark.configure import agent_class, configure, describe
    from benchmark.records import SCHEMA

    task = get_task(spec.task)
    cls = agent_class(spec.agent)
    return {
        "schema": SCHEMA,
        "agent": cls.name,
        "task": task.name,
        "domain": task.domain.name,
        "suite": spec.suite,
        "seeds": list(spec.seeds),
        "hyperparameters": describe(configure(cls, spec.settings)),
        "protocol": asdict(spec.protocol) | online_config(spec.online),
        "data": asdict(spec.data) if spec.data else data_source(spec),
    }


def online_config(online: Online | None) -> dict[str, int]:
    """What a run's protocol says of its online phase; nothing where it has none."""
    return {f"online_{name}": value for name, value in asdict(online).items()} if online else {}


def online_from(steps: str | None, start: str | None) -> Online | None:
    """The online phase that --online-steps and --online-start ask for."""
    from benchmark.plan import whole_number

    if steps is None:
        if start is not None:
            raise UserError("--online-start needs --online-steps")
        return None
    online = Online(whole_number("--online-steps", steps))
    return online if start is None else Online(online.steps, whole_number("--online-start", start))


def is_done(spec: RunSpec) -> bool:
    """Whether a run of exactly this configuration is finished; a UserError if the folder holds another one."""
    from benchmark.records import RunDirectory, differences, read_json

    directory = RunDirectory(run_path(spec))
    known = read_json(directory.path / "config.json")
    if known is None:
        return False
    directory.check_config(run_config(spec)) if differences(known, run_config(spec)) else None
    return directory.status.get("state") == "done"


def data_path(spec: RunSpec) -> Path | None:
    """Where the run's dataset lies, or will lie; None for a toy, which has no file."""
    from envs.files import d4rl_file, data_folder

    task = get_task(spec.task)
    if task.domain.toy:
        return None
    folder = data_folder(spec.data_dir)
    if task.domain.d4rl:
        if spec.data is not None:
            raise UserError(f"D4RL's data cannot be generated: '{task.name}' has a published file")
        return folder / d4rl_file(task.name)
    if spec.data is None:
        return folder / (task.dataset if task.domain.shards else f"{task.dataset}.npz")
    return folder / "generated" / f"{spec.data.transitions}-seed{spec.data.seed}" / f"{task.dataset}.npz"


def missing_data(spec: RunSpec) -> list[tuple[str, int | None]]:
    """Files that the run's dataset lacks, each with its bytes where they are known; uses no network."""
    from envs.files import missing
    from envs.generate import shards_made
    from envs.shards import shard_files

    task, path = get_task(spec.task), data_path(spec)
    if path is None:
        return []
    if spec.data is not None:
        return [] if path.exists() else [(path.name, None)]
    if task.domain.shards and shards_made(path) is not None:
        return [(file.name, None) for file in shard_files(path) if not file.exists()]
    return missing([task.dataset], spec.data_dir)


def ensure_data(spec: RunSpec) -> Path | None:
    """Make or fetch the run's dataset if it is not there; processes that ask together do it once."""
    from filelock import FileLock

    from benchmark.records import make_folder

    task, path = get_task(spec.task), data_path(spec)
    if path is None:
        return None
    if task.domain.d4rl:
        from envs.d4rl import check_installed

        check_installed(task)
    if spec.data is None:
        from envs.download import ensure_dataset
        from envs.generate import shards_made

        complete = not missing_data(spec) or shards_made(path) is not None
        return path if complete else ensure_dataset(task.dataset, spec.data_dir)
    from envs.generate import generate

    make_folder(path.parent)
    with FileLock(f"{path}.lock"):
        return generate(task.domain.name, spec.data.transitions, spec.data.seed, path)


def data_source(spec: RunSpec) -> str:
    """Where the run's data comes from: "generated", "toy" (made in code) or "published"."""
    return "generated" if spec.data else "toy" if get_task(spec.task).domain.toy else "published"


def execute(spec: RunSpec, quiet: bool = False) -> None:
    """Do a run, from its start or its last checkpoint. What goes wrong is recorded in its status and raised."""
    from benchmark.records import RunDirectory

    config = run_config(spec)
    with RunDirectory(run_path(spec)) as directory:
        directory.check_config(config)
        if directory.status.get("state") == "done":
            print(f"{directory.path} is finished already")
            return
        try:
            _train(spec, directory, quiet)
        except (KeyboardInterrupt, Stopped) as error:
            directory.record_end("interrupted", str(error) or "interrupted")
            raise
        except BaseException as error:
            details = "" if isinstance(error, UserError) else "\n" + traceback.format_exc()
            directory.record_end("failed", summary(error) + details)
            raise


def _train(spec: RunSpec, directory, quiet: bool) -> None:
    from benchmark import provenance

    if spec.protocol.steps == 0:
        directory.add_start(provenance.where())
        directory.set_status(state="done", step=0, steps=0, diverged={}, error=None)
        return
    from benchmark.compiled import keep_programs
    from benchmark.configure import agent_class, configure
    from benchmark.progress import RunProgress
    from envs.world import environments_for, open_world

    keep_programs()
    task, cls = get_task(spec.task), agent_class(spec.agent)
    config = configure(cls, spec.settings)
    path = ensure_data(spec)
    with _signals_for_this_process_alone():
        world = open_world(task, path, environments_for(len(spec.seeds), spec.protocol.eval_episodes))
    try:
        directory.add_start(provenance.collect({"source": data_source(spec), **world.source}))
        data = world.data_for(0)
        agent = cls(config, data.observation_dim, data.action_dim)
        del data  # one shard of several: only the world may hold it
        with (
            RunProgress(f"{cls.name} {task.name}", directory.path / "log.txt", quiet) as progress,
            _training_of(spec.online, task, spec.seeds) as make_training,
        ):
            training = make_training(
                *(agent, spec.seeds, spec.protocol, world, directory),
                say=progress.say,
                on_progress=progress.update,
                should_stop=stop_asked.is_set,
            )
            with _tracked(spec, training):
                training.run()
    finally:
        world.close()


@contextlib.contextmanager
def _training_of(online: Online | None, task: Task, seeds: Sequence[int]) -> Iterator[Callable[..., Any]]:
    """What makes the run's training; where it has an online phase, with environments that end with it."""
    from benchmark.training import Training

    if online is None:
        yield Training
        return
    from benchmark.online import OnlineTraining
    from envs.live import open_live

    with _signals_for_this_process_alone():
        live = open_live(task, seeds)
    try:
        yield functools.partial(OnlineTraining, online=online, live=live)
    finally:
        live.close()


@contextlib.contextmanager
def _tracked(spec: RunSpec, training) -> Iterator[None]:
    """Send what training records to W&B too, where that is asked."""
    if spec.wandb is None:
        yield
        return
    from benchmark.tracking import Tracker

    tracker = Tracker(spec.wandb, training.directory.path, run_config(spec), training.say)
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


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments[:1] == ["--specs"]:
        return serve(arguments[1:])
    execute(parse(arguments))
    return 0


def serve(arguments: Sequence[str]) -> int:
    """How a launcher starts runs: do those of a file, a RunSpec a line, and append to another how each ended.

    Ends at once with the launcher, which holds the other end of standard input. Returns the number of runs that failed.
    """
    parser = argparse.ArgumentParser()
    parser.add_argument("specs", type=Path)
    parser.add_argument("ends", type=Path)
    parser.add_argument("--cores", help="the processor cores to use, separated by commas")
    options = parser.parse_args(arguments)
    if options.cores and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, [int(core) for core in options.cores.split(",")])
    for number in STOP_SIGNALS:
        signal.signal(number, lambda *_: stop_asked.set())
    threading.Thread(target=_end_with_the_launcher, daemon=True).start()
    specs = [RunSpec.from_json(line) for line in options.specs.read_text().splitlines()]
    with options.ends.open("a") as ends:
        return execute_all(specs, lambda state, reason: print(json.dumps([state, reason]), file=ends, flush=True))


def _end_with_the_launcher() -> None:
    os.read(sys.stdin.fileno(), 1)  # returns at the end of the file; no lock of Python's is held meanwhile
    os.kill(os.getpid(), signal.SIGKILL)


def execute_all(specs: Sequence[RunSpec], on_end: Callable[[str, str], None] = lambda state, reason: None) -> int:
    """Do several runs one after the other; one that fails does not stop the rest. Returns the number that failed.

    `on_end` is told of each how it ended, "done", "failed", "busy" or "stopped", and why.
    """
    from benchmark.records import Busy

    failed = 0
    for spec in specs:
        state, reason = "done", ""
        try:
            execute(spec)
        except Stopped as error:
            state, reason = "stopped", str(error)
        except Busy as error:
            state, reason = "busy", str(error)
        except Exception as error:
            failed += 1
            state, reason = "failed", summary(error)
            if not isinstance(error, UserError):
                traceback.print_exc()
        if reason:
            what = f"{spec.label} on {spec.task}, seeds {', '.join(map(str, spec.seeds))}"
            print(f"{'error' if state == 'failed' else state}: {what}: {reason}", file=sys.stderr, flush=True)
        on_end(state, reason)
        if stop_asked.is_set():
            break
    return failed


def parse(arguments: list[str]) -> RunSpec:
    """Read a RunSpec from the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmark.train", description="Train and evaluate one agent on one task, several seeds at once."
    )
    parser.add_argument("--agent", help="name of an agent, or the path of a file that defines one")
    parser.add_argument("--task", help="OGBench's name, e.g. cube-double-play-singletask-task1-v0")
    parser.add_argument("--seeds", default="0", help="e.g. 0-3 or 0,2,5-7 (default: 0)")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a hyperparameter; repeatable")
    parser.add_argument("--protocol", default="rql", help=f"one of {', '.join(PROTOCOLS)} (default: rql)")
    parser.add_argument("--steps", help="updates, instead of the protocol's")
    parser.add_argument("--eval-episodes", help="episodes per evaluation, instead of the protocol's")
    parser.add_argument("--out", default="runs/single", help="folder for results (default: runs/single)")
    parser.add_argument("--data-dir", help="folder of datasets (default: $RQL_DATA_DIR or ~/.ogbench/data)")
    parser.add_argument("--generate", metavar="N", help="train on N generated transitions instead of published data")
    parser.add_argument("--online-steps", metavar="N", help="environment steps of fine-tuning after the offline phase")
    parser.add_argument("--online-start", metavar="N", help="of those, before the first update (default: 5,000)")
    options = parser.parse_args(arguments)
    if not options.agent or not options.task:
        raise UserError("--agent and --task are needed; `python run_all.py --list` names them")
    return _spec_from(options)


def _spec_from(options: argparse.Namespace) -> RunSpec:
    import dataclasses

    from benchmark.configure import agent_class, configure, parse_seeds, parse_settings
    from benchmark.plan import settings_for, whole_number, with_run_length

    protocol = get_protocol(options.protocol)
    if options.steps:
        protocol = protocol.scaled_to(whole_number("--steps", options.steps))
    if options.eval_episodes:
        episodes = whole_number("--eval-episodes", options.eval_episodes)
        protocol = dataclasses.replace(protocol, eval_episodes=episodes)
    task = get_task(options.task)
    cls = agent_class(options.agent)
    online = online_from(options.online_steps, options.online_start)
    settings = with_run_length(cls, settings_for(cls, task, parse_settings(options.set)), protocol, online)
    configure(cls, settings)
    return RunSpec(
        agent=options.agent,
        task=task.name,
        seeds=parse_seeds(options.seeds),
        settings=settings,
        protocol=protocol,
        out=options.out,
        data=Generated(whole_number("--generate", options.generate)) if options.generate else None,
        data_dir=options.data_dir,
        online=online,
    )


if __name__ == "__main__":
    run_main(main)
