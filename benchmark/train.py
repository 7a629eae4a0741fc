"""One run: `python -m benchmark.train --agent=rql --task=... --seeds=0-3 --set alpha=10 --set expectile=0.9`.

A run trains one agent on one task, several seeds at once in one process. Started again with the same command it
continues from its last checkpoint; a finished run is not run again.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import functools
import json
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from benchmark.errors import Stopped, UserError, run_main, summary
from benchmark.options import MOST_EPISODES, MOST_TRANSITIONS, Parser, folder, whole_number
from benchmark.reading import LIST, OBJECT, TEXT, Damaged, check_fields, optional, parse_object, read_records
from benchmark.suites import PROTOCOLS, Generated, Online, Protocol, get_protocol
from envs.tasks import Task, get_task

STOP_SIGNAL = signal.SIGUSR2
"""Asks a run to save a checkpoint after its next row and to stop; Slurm sends it before a job's time is up."""
STOP_SIGNALS = (STOP_SIGNAL, signal.SIGTERM)
"""SIGTERM asks the same: Slurm sends it to what it cancels or preempts."""

MOST_LETTERS = 200
"""Letters in the name of a run's folder; file systems allow 255."""

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
    origins: dict[str, str] = field(default_factory=dict)
    """Where each hyperparameter comes from, see `benchmark.plan.choose`; {} where that was not said."""
    shown_as: str | None = None
    """What the results are stored and shown under, where that is not the agent's name."""
    name: str = ""
    """The agent's own, as the plan found it, so that no one who reads results imports its file."""

    @property
    def label(self) -> str:
        """The agent as tables and folders show it: the label that it was given, or its name."""
        return self.shown_as or self.agent_name

    @property
    def agent_name(self) -> str:
        """The agent's own name; that of its file where the plan did not say."""
        return self.name or (Path(self.agent).stem if self.agent.endswith(".py") else self.agent)

    def to_json(self) -> str:
        """As one line of text."""
        return json.dumps(asdict(self))

    @staticmethod
    def from_json(text: str | bytes, source: Path = Path("a run")) -> RunSpec:
        """The inverse of `to_json`. Raises `Damaged`, which names `source`, for a text that is no run."""
        content = text if isinstance(text, bytes) else text.encode(errors="replace")
        return _spec_of(parse_object(content, source), source)


_PLAIN = {"agent": TEXT, "task": TEXT, "seeds": LIST, "settings": OBJECT, "out": TEXT, "suite": optional(TEXT)}
_PLAIN |= {"data_dir": optional(TEXT), "wandb": optional(OBJECT), "name": TEXT}
_PLAIN |= {"origins": OBJECT, "shown_as": optional(TEXT)}
_PARTS = {"protocol": Protocol, "data": Generated, "online": Online}


def _spec_of(values: dict[str, Any], source: Path) -> RunSpec:
    """A RunSpec from its fields, which may be anything. Raises `Damaged`."""
    check_fields(source, values, _PLAIN | dict.fromkeys(_PARTS, optional(OBJECT)))
    try:
        parts = {name: kind(**values[name]) for name, kind in _PARTS.items() if values.get(name)}
        spec = RunSpec(**values | dict.fromkeys(_PARTS) | parts | {"seeds": tuple(values["seeds"])})
    except (TypeError, KeyError) as error:
        raise Damaged(source, f"not a run: {error}") from error
    whole = [(part, field.name) for part in parts.values() for field in fields(part) if field.type == "int"]
    numbers = [*spec.seeds, *(getattr(part, name) for part, name in whole)]
    if "protocol" not in parts or not spec.seeds or not all(type(number) is int and number >= 0 for number in numbers):
        raise Damaged(source, "not a run: its seeds, protocol, data and online phase must be whole numbers")
    for name in (spec.label, spec.agent_name, spec.task):
        if not name.isprintable() or name.startswith(".") or Path(name).name != name:
            raise Damaged(source, f"not a run: {name!r:.40} cannot be a folder")
    return spec


def run_path(spec: RunSpec) -> Path:
    """The run's directory. Imports no agent: who reads results runs nothing of what stands in them."""
    from benchmark.records import format_seeds, run_directory

    return run_directory(Path(spec.out), spec.label, spec.task, format_seeds(spec.seeds))


def run_config(spec: RunSpec) -> dict[str, Any]:
    """What is asked of a run, as its config.json holds it. Raises a UserError for what cannot be done."""
    from benchmark.configure import agent_class, configure, describe
    from benchmark.provenance import own_digests
    from benchmark.records import SCHEMA

    task = get_task(spec.task)
    cls = agent_class(spec.agent)
    if cls.name != spec.agent_name:
        raise UserError(f"{spec.agent} defines agent '{cls.name}', and not '{spec.agent_name}' as was planned")
    own = own_digests(spec.agent)
    return {
        "schema": SCHEMA,
        "agent": cls.name,
        **({"label": spec.shown_as} if spec.shown_as else {}),
        **({"code": own} if own else {}),
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
    if steps is None:
        if start is not None:
            raise UserError("--online-start needs --online-steps")
        return None
    online = Online(whole_number("--online-steps", steps, high=MOST_TRANSITIONS))
    if start is not None:
        online = Online(online.steps, whole_number("--online-start", start))
    if online.start >= online.steps:
        raise UserError(
            f"nothing would be learned online: the first update is after --online-start {online.start:,} of "
            f"--online-steps {online.steps:,}"
        )
    return online


def protocol_from(options: argparse.Namespace, name: str, agent: str = "") -> Protocol:
    """The protocol that --protocol, --steps and --eval-episodes ask for, as the agent has it; by default `name`."""
    protocol = get_protocol(options.protocol or name, agent)
    for option in ("steps", "eval_episodes"):
        if getattr(options, option) is not None and not protocol.steps:
            raise UserError(f"--{option.replace('_', '-')}: protocol '{options.protocol or name}' trains nothing")
    if options.steps is not None:
        protocol = protocol.scaled_to(whole_number("--steps", options.steps))
    if options.eval_episodes is not None:
        episodes = whole_number("--eval-episodes", options.eval_episodes, high=MOST_EPISODES)
        protocol = dataclasses.replace(protocol, eval_episodes=episodes)
    return protocol


def generated_from(text: str, tasks: Sequence[Task]) -> Generated:
    """The data that --generate asks for. Raises a UserError for a task whose data cannot be generated."""
    from envs.episodes import find_recipe

    data = Generated(whole_number("--generate", text, high=MOST_TRANSITIONS))
    for task in tasks:
        if task.domain.toy or task.domain.d4rl:
            made = "is made in code" if task.domain.toy else "has a published file"
            raise UserError(f"--generate: the data of '{task.name}' cannot be generated, it {made}")
        find_recipe(task.domain.name)
    return data


def check_size(spec: RunSpec, here: bool = True) -> None:
    """Raise a UserError for a run that cannot be: of more seeds than its folder's name can hold or, where it is to run
    `here`, than fit into this machine's memory.
    """
    from benchmark.configure import agent_class, check_memory, configure

    longest = len(run_path(spec).name)
    if longest > MOST_LETTERS:
        raise UserError(
            f"--seeds: a run's folder would have a name of {longest} letters, at most {MOST_LETTERS} are allowed; give "
            "seeds in ranges, or fewer that train together"
        )
    if here:
        cls = agent_class(spec.agent)
        check_memory(cls.name, configure(cls, spec.settings), len(spec.seeds))


def is_done(spec: RunSpec) -> bool:
    """Whether a run of exactly this configuration is finished; a UserError if the folder holds another one, `Damaged`
    if its records cannot be used.
    """
    from benchmark.records import RunDirectory

    directory = RunDirectory(run_path(spec))
    records = read_records(directory.path)
    if records.config is None:
        return False
    asked = run_config(spec)
    for name in ("schema", "agent", "task", "seeds"):  # the folder itself says these
        if records.config.get(name) != asked[name]:
            raise Damaged(directory.path / "config.json", f"{name} is {records.config.get(name)}, not {asked[name]}")
    directory.refuse_another(records.config, asked)
    return records.status.get("state") == "done"


def by_other_code(spec: RunSpec) -> str:
    """By which code a finished run was made, "" where it is today's, or was not recorded."""
    from benchmark.provenance import code_digest

    records = read_records(run_path(spec))
    made = records.status.get("code") or []
    if not made or made == [code_digest(spec.agent)]:
        return ""
    commits = dict.fromkeys(str(start.get("commit"))[:12] for start in records.starts if start.get("code") in made)
    return f"other code, commit {' and '.join(commits) or 'unknown'}"


def begin_anew(specs: Sequence[RunSpec]) -> None:
    """Move the folders of the runs aside, where there are any."""
    from benchmark.records import RunDirectory

    for spec in specs:
        kept = RunDirectory(run_path(spec)).set_aside()
        if kept:
            print(f"{run_path(spec)} begins anew; what it held is kept in {kept}")


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
    from benchmark.provenance import own_files
    from benchmark.records import RunDirectory

    config = run_config(spec)
    data_path(spec)  # where data cannot be is said before a folder is made for the run
    with RunDirectory(run_path(spec)) as directory:
        directory.check_config(config, own_files(spec.agent))
        if directory.status.get("state") == "done":
            other = by_other_code(spec)
            print(f"{directory.path} is finished already" + (f" (made by {other})" if other else ""))
            return
        try:
            _train(spec, directory, quiet)
        except (KeyboardInterrupt, Stopped) as error:
            directory.record_end("interrupted", str(error) or "interrupted")
            raise
        except BaseException as error:
            details = "" if isinstance(error, UserError) else "\n" + traceback.format_exc()
            directory.record_end("failed", summary(error) + details)
            if isinstance(error, Exception):
                raise
            raise UserError(f"{spec.label} on {spec.task} ended by {summary(error)}") from error


def _train(spec: RunSpec, directory, quiet: bool) -> None:
    from benchmark import provenance

    if spec.protocol.steps == 0:
        directory.add_start({**provenance.where(spec.agent), "hyperparameters": spec.origins})
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
        environments = environments_for(len(spec.seeds), spec.protocol.eval_episodes)
        world = open_world(task, path, environments, cls.sampler, config.chunk_length)
    try:
        made = provenance.collect({"source": data_source(spec), **world.source}, spec.agent)
        directory.add_start({**made, "hyperparameters": spec.origins})
        data = world.data_for(0)
        agent = cls(config, data.observation_dim, data.action_dim)
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
    spec, anew = parse_command(arguments)
    if anew:
        begin_anew([spec])
    execute(spec)
    return 0


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
    from benchmark.records import Busy

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


def parser() -> Parser:
    """The command line's options."""
    parser = Parser(
        prog="python -m benchmark.train", description="Train and evaluate one agent on one task, several seeds at once."
    )
    parser.add_argument("--agent", help="name of an agent, or the path of a file that defines one")
    parser.add_argument("--task", help="OGBench's name, e.g. cube-double-play-singletask-task1-v0")
    parser.add_argument("--seeds", default="0", help="e.g. 0-3 or 0,2,5-7 (default: 0)")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a hyperparameter; repeatable")
    parser.add_argument("--label", metavar="NAME", help="store and show the results under this name, not the agent's")
    parser.add_argument("--protocol", default="rql", help=f"one of {', '.join(PROTOCOLS)} (default: rql)")
    parser.add_argument("--steps", help="updates, instead of the protocol's")
    parser.add_argument("--eval-episodes", help="episodes per evaluation, instead of the protocol's")
    parser.add_argument("--out", default="runs/single", help="folder for results (default: runs/single)")
    parser.add_argument("--data-dir", help="folder of datasets (default: $RQL_DATA_DIR or ~/.ogbench/data)")
    parser.add_argument("--generate", metavar="N", help="train on N generated transitions instead of published data")
    parser.add_argument("--online-steps", metavar="N", help="environment steps of fine-tuning after the offline phase")
    parser.add_argument("--online-start", metavar="N", help="of those, before the first update (default: 5,000)")
    parser.add_argument("--anew", action="store_true", help="begin again; what the run's folder holds is moved aside")
    return parser


def parse(arguments: list[str]) -> RunSpec:
    """Read a RunSpec from the command line."""
    return parse_command(arguments)[0]


def parse_command(arguments: list[str]) -> tuple[RunSpec, bool]:
    """Read from the command line a RunSpec, and whether it is to begin anew."""
    options = parser().parse_args(arguments)
    if not options.agent or not options.task:
        raise UserError("--agent and --task are needed; `python run_all.py --list` names them")
    return _spec_from(options), options.anew


def _spec_from(options: argparse.Namespace) -> RunSpec:
    from benchmark.configure import agent_class, check_label, parse_seeds, parse_settings, settings_of
    from benchmark.plan import choose, with_run_length

    folder("--out", options.out)
    if options.data_dir:
        folder("--data-dir", options.data_dir)
    task = get_task(options.task)
    cls = agent_class(options.agent)
    settings, origins = choose(cls, task, settings_of(cls.name, parse_settings(options.set), [cls.name]))
    protocol = protocol_from(options, options.protocol, cls.name)
    online = online_from(options.online_steps, options.online_start)
    spec = RunSpec(
        agent=options.agent,
        task=task.name,
        seeds=parse_seeds(options.seeds),
        settings=with_run_length(cls, settings, protocol, online),
        protocol=protocol,
        out=options.out,
        data=generated_from(options.generate, [task]) if options.generate else None,
        data_dir=options.data_dir,
        online=online,
        origins=origins,
        shown_as=check_label(options.label, [cls.name]) if options.label is not None else None,
        name=cls.name,
    )
    check_size(spec)
    return spec


if __name__ == "__main__":
    run_main(main)
