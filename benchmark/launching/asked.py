"""What the front door is asked for: which runs, and how they are to be launched; checked before any work."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmark.common.errors import UserError, check_choice
from benchmark.common.options import MOST_JOBS, MOST_MINUTES, input_file, names, refuse, whole_number
from benchmark.launching import cost, slurm_options
from benchmark.launching.local import slots
from benchmark.launching.slurm_options import SlurmOptions
from benchmark.loop.device import device_name
from benchmark.loop.starting import starting_from
from benchmark.loop.tracking import wandb_options
from benchmark.planning.configure import parse_settings
from benchmark.planning.from_options import check_size, generated_from, online_from, protocol_from
from benchmark.planning.missing import only_missing
from benchmark.planning.plan import plan
from benchmark.planning.protocols import AGENT_STEPS
from benchmark.planning.registry import agent_class
from benchmark.planning.suites import Suite
from benchmark.runs.run import RunSpec
from benchmark.runs.seeds import MOST_SEEDS, parse_seeds
from benchmark.speed.rates import read_rates
from envs.tasks import Task

MOST_RUNS = 1_000_000
"""Most seeds of all tasks and agents together, each of which may be a run."""
OF_SLURM = (*slurm_options.NAMES, "slurm_config", "runs_per_job")
"""Options that only --launcher=slurm takes."""


@dataclass(frozen=True)
class How:
    """How runs are launched."""

    launcher: str = "local"
    runs_per_process: int = 1
    jobs: int | None = None
    timeout: float | None = None
    """Seconds that a run may take in one process."""
    runs_per_job: int | None = None
    cluster: SlurmOptions = dataclasses.field(default_factory=SlurmOptions)

    @property
    def in_a_job(self) -> int:
        """Processes that a job runs at once."""
        return self.jobs or max(1, self.cluster.gpus_of_a_job)

    @property
    def at_once(self) -> int | None:
        """Runs that train at once; None where Slurm decides."""
        if self.launcher == "slurm":
            return self.cluster.parallel and self.cluster.parallel * self.in_a_job
        return 1 if self.launcher == "debug" else len(slots(self.jobs))


LAUNCHERS = ("local", "slurm", "debug")


def how_to_launch(options: argparse.Namespace, runs_per_process: int) -> How:
    """How the options want runs launched; a UserError for what cannot be, before any work."""

    def number(name: str, high: int = MOST_RUNS) -> int | None:
        text = getattr(options, name)
        return None if text is None else whole_number(f"--{name.replace('_', '-')}", text, high=high)

    given = {name: getattr(options, name) for name in slurm_options.NAMES}
    launcher = check_choice("launcher", options.launcher or "local", LAUNCHERS)
    if launcher != "slurm" and not options.retry_failed:
        refuse(options, OF_SLURM, "is for --launcher=slurm")
    minutes = number("run_timeout", MOST_MINUTES)
    if options.slurm_config:
        input_file("--slurm-config", options.slurm_config)
    return How(
        launcher,
        number("runs_per_process") or runs_per_process,
        number("jobs", MOST_JOBS),
        minutes * 60 if minutes else None,
        number("runs_per_job"),
        slurm_options.read_options(options.slurm_config, given),
    )


def given_before(last: dict, options: argparse.Namespace) -> dict:
    """What a launch was given that the options of its repetition leave open."""
    before = dict(last["options"], launcher=last["launcher"])
    cluster = before.pop("cluster", None)
    numbers = {name: value for name, value in before.items() if name != "launcher"}
    if not (
        isinstance(cluster, dict)
        and cluster.keys() <= set(slurm_options.NAMES)
        and numbers.keys() <= {field.name for field in dataclasses.fields(How)}
        and all(value is None or (type(value) in (int, float) and value > 0) for value in numbers.values())
    ):
        raise UserError(f"the last launch's options are damaged: {last['options']!r:.100}; launch the suite again")
    check_choice("launcher of the last launch", last["launcher"], LAUNCHERS)
    if options.launcher and options.launcher != last["launcher"]:
        return {}
    asked = {
        "launcher": None,
        "timeout": options.run_timeout,
        **{name: getattr(options, name) for name in ("runs_per_process", "jobs", "runs_per_job")},
    }
    kept = {name: value for name, value in before.items() if asked[name] is None}
    given = {name: getattr(options, name) for name in slurm_options.NAMES if getattr(options, name) is not None}
    return {**kept, "cluster": slurm_options.read_options(options.slurm_config, given, cluster)}


def runs_asked_for(options: argparse.Namespace, suite: Suite, out: Path) -> list[RunSpec]:
    """The runs that the options choose from a suite."""
    if options.rates:
        read_rates(input_file("--rates", options.rates))
    agents = names("--agents", options.agents) if options.agents else list(suite.agents)
    given: dict[str, str] = {}
    for agent in agents:
        other = given.setdefault(agent_class(agent).name, agent)
        if other != agent:
            raise UserError(f"--agents: {other} and {agent} are both called '{agent_class(agent).name}'")
    seeds = parse_seeds(options.seeds) if options.seeds else suite.seeds
    tasks = choose_tasks(suite, options.domains, options.tasks)
    count = len(agents) * len(tasks) * len(seeds)
    if count > MOST_RUNS:
        raise UserError(f"--seeds: {count:,} seeds of all agents and tasks together; at most {MOST_RUNS:,} are allowed")
    if options.generate:
        suite = dataclasses.replace(suite, data=generated_from(options.generate, tasks))
    runs = plan(
        suite,
        agents=agents,
        tasks=tasks,
        seeds=seeds,
        protocol=protocol_from(options, suite.protocol),
        out=str(out),
        settings=parse_settings(options.set),
        data_dir=options.data_dir,
        seeds_per_process=seeds_per_process(options.seeds_per_process, len(seeds), options.rates),
        wandb=wandb_options(options.wandb, options.wandb_offline),
        online=online_from(options.online_steps, options.online_start),
        label=options.label,
        agent_steps={} if options.steps else AGENT_STEPS.get(options.protocol or suite.protocol),
    )
    kept = dict(keep_checkpoints=options.keep_checkpoints, keep_policies=options.keep_policies)
    runs = [dataclasses.replace(run, **kept) for run in runs]
    if options.start_from:
        runs = starting_from(options.start_from, runs)
    runs = only_missing(runs)
    for run in {(run.agent, run.seeds): run for run in runs}.values():
        check_size(run, here=options.launcher != "slurm")
    return runs


def seeds_per_process(text: str | None, seeds: int, rates: Path | None) -> int | Callable[..., int] | None:
    """What --seeds-per-process says, as `plan` takes it; "auto" is decided from measured rates."""
    if text is None:
        return None
    if text != "auto":
        return whole_number("--seeds-per-process", text, high=MOST_SEEDS)
    rows = read_rates(rates)
    if not rows:
        raise UserError(
            f"--seeds-per-process=auto needs rates measured on {device_name()}: "
            "python -m benchmark.throughput --agents=all --seeds=1,4,12 (or --rates=FILE, measured elsewhere)"
        )

    def size(cls, settings, task) -> int:
        return cost.seeds_together(cls, settings, task, seeds, rows)

    return size


def choose_tasks(suite: Suite, domains: str | None, tasks: str | None) -> list[Task]:
    """The suite's tasks, or those of the domains and names given."""
    chosen = list(suite.tasks)
    if domains:
        known = dict.fromkeys(task.domain.name for task in suite.tasks)
        wanted = [check_choice(f"domain of suite '{suite.name}'", name, known) for name in names("--domains", domains)]
        chosen = [task for task in chosen if task.domain.name in wanted]
    if tasks:
        known = dict.fromkeys(task.name for task in chosen)
        wanted = [check_choice(f"task of suite '{suite.name}'", name, known) for name in names("--tasks", tasks)]
        chosen = [task for task in chosen if task.name in wanted]
    return chosen
