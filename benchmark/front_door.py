"""What `run_all.py` does with its options."""

from __future__ import annotations

import argparse
import dataclasses
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmark import cost, evaluation_speed, slurm, status
from benchmark.configure import MOST_SEEDS, agent_class, agent_names, parse_seeds, parse_settings
from benchmark.cost import Hours
from benchmark.errors import UserError, check_choice, printable, summary
from benchmark.launch import Outcome, record_death, run_in_this_process, run_locally
from benchmark.launches import Launch, read_launches
from benchmark.options import MOST_JOBS, MOST_MINUTES, input_file, names, whole_number
from benchmark.plan import plan
from benchmark.records import RunDirectory, format_seeds, make_folder
from benchmark.suites import PROTOCOLS, SUITES, Suite, get_suite
from benchmark.throughput import device_name, read_rates
from benchmark.tracking import wandb_options
from benchmark.train import (
    RunSpec,
    check_size,
    data_path,
    ensure_data,
    is_done,
    missing_data,
    online_from,
    protocol_from,
    run_path,
)
from envs.tasks import Task, get_task

MOST_RUNS = 1_000_000
"""Most seeds of all tasks and agents together, each of which may be a run."""
MOST_ROWS = 60
"""Runs that a plan lists one by one; of more it counts."""

console = Console(highlight=False, markup=False, emoji=False, width=None if sys.stdout.isatty() else 120)


def run(options: argparse.Namespace) -> int:
    """Do what the options ask; return the exit code."""
    if options.list:
        list_everything()
        return 0
    if options.retry_failed:
        return retry(options)
    if not options.suite:
        raise UserError(f"--suite is needed: {', '.join(SUITES)} (--list says more)")
    suite = get_suite(options.suite)
    out = Path(options.out or f"runs/{suite.name}")
    how = how_to_launch(options, suite.runs_per_process)
    runs = plan_from(options, suite, out)
    if options.dry_run or options.estimate:
        print_plan(runs, options.estimate, options.rates)
        return 0
    if options.report:
        report(out, runs)
        return 0
    return launch(out, runs, how, options.watch)


def retry(options: argparse.Namespace) -> int:
    """Launch the failed and the stopped runs of a folder again, as they were launched last."""
    code = 0
    for out in status.folders(options.out, options.suite):
        runs = [run.spec for run in status.run_states(out) if run.state in ("failed", "stopped")]
        if not runs:
            console.print(f"{out}: no run failed", markup=False)
            continue
        last = read_launches(out)[-1].about
        how = dataclasses.replace(how_to_launch(options, 1), **given_before(last, options))
        code = max(code, launch(out, runs, how, options.watch))
    return code


@dataclass(frozen=True)
class How:
    """How runs are launched."""

    launcher: str = "local"
    runs_per_process: int = 1
    jobs: int | None = None
    timeout: float | None = None
    """Seconds that a run may take in one process."""
    runs_per_job: int | None = None
    cluster: slurm.SlurmOptions = dataclasses.field(default_factory=slurm.SlurmOptions)


LAUNCHERS = ("local", "slurm", "debug")


def how_to_launch(options: argparse.Namespace, runs_per_process: int) -> How:
    """How the options want runs launched; a UserError for what cannot be, before any work."""

    def number(name: str, high: int = MOST_RUNS) -> int | None:
        text = getattr(options, name)
        return None if text is None else whole_number(f"--{name.replace('_', '-')}", text, high=high)

    fields = [field.name for field in dataclasses.fields(slurm.SlurmOptions)]
    given = {name: getattr(options, name) for name in fields}
    launcher = check_choice("launcher", options.launcher or "local", LAUNCHERS)
    if launcher != "slurm":
        wrong = [name for name in (*fields, "slurm_config", "runs_per_job") if getattr(options, name) is not None]
        if wrong and not options.retry_failed:
            raise UserError(f"--{wrong[0].replace('_', '-')} is for --launcher=slurm")
    minutes = number("run_timeout", MOST_MINUTES)
    if options.slurm_config:
        input_file("--slurm-config", options.slurm_config)
    return How(
        launcher,
        number("runs_per_process") or runs_per_process,
        number("jobs", MOST_JOBS),
        minutes * 60 if minutes else None,
        number("runs_per_job"),
        slurm.read_options(options.slurm_config, given),
    )


def given_before(last: dict, options: argparse.Namespace) -> dict:
    """What a launch was given that the options of its repetition leave open."""
    before = dict(last["options"], launcher=last["launcher"])
    cluster = before.pop("cluster")
    if options.launcher and options.launcher != last["launcher"]:
        return {}
    asked = {
        "launcher": None,
        "timeout": options.run_timeout,
        **{name: getattr(options, name) for name in ("runs_per_process", "jobs", "runs_per_job")},
    }
    kept = {name: value for name, value in before.items() if asked[name] is None}
    given = {name: getattr(options, name) for name in cluster if getattr(options, name) is not None}
    return {**kept, "cluster": slurm.read_options(options.slurm_config, {**cluster, **given})}


def plan_from(options: argparse.Namespace, suite: Suite, out: Path) -> list[RunSpec]:
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
    )
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


def list_everything() -> None:
    """Print the names of agents, suites, protocols and tasks."""
    agents = Table("agent", "what it is", title="agents (or the path of your own file)", title_justify="left")
    for name in agent_names():
        agents.add_row(name, first_line(agent_class(name)))
    suites = Table("suite", "agents", "tasks", "seeds", "protocol", "what it is", title="suites", title_justify="left")
    for suite in SUITES.values():
        counts = [str(len(items)) for items in (suite.agents, suite.tasks, suite.seeds)]
        suites.add_row(suite.name, *counts, suite.protocol, suite.text)
    protocols = Table(
        "protocol", "steps", "evaluated every", "episodes", "after step 1", title="protocols", title_justify="left"
    )
    for name, protocol in PROTOCOLS.items():
        first = "yes" if protocol.eval_first else "no"
        episodes = str(protocol.eval_episodes)
        protocols.add_row(name, f"{protocol.steps:,}", f"{protocol.eval_every:,}", episodes, first)
    for table in (agents, suites, protocols):
        console.print(table)
    for suite in SUITES.values():
        console.print(f"\ntasks of suite {suite.name}:")
        for domain in dict.fromkeys(task.domain.name for task in suite.tasks):
            numbers = ",".join(str(task.number) for task in suite.tasks if task.domain.name == domain)
            console.print(f"  {domain}-singletask-task{{{numbers}}}-v0", markup=False)


def first_line(cls: type) -> str:
    """The first line of the documentation of the file that defines an agent."""
    return (sys.modules[cls.__module__].__doc__ or "").strip().split("\n")[0]


@dataclass(frozen=True)
class Planned:
    """A run of the plan."""

    spec: RunSpec
    state: str
    """"done", "to do", or "begun" where there is something to go on from."""
    hours: Hours | None
    """Hours of training that it still needs, None where that is not known."""

    @property
    def domain(self) -> str:
        return get_task(self.spec.task).domain.name


def print_plan(runs: list[RunSpec], estimate: bool, rates: Path | None = None) -> None:
    """Print what would run, what is done already, what data is missing, and what it will cost on this device.

    With `estimate` the agents whose speed was not recorded here are timed, else they have no cost.
    """
    states = [state_of(spec) for spec in runs]
    waiting = [(spec, step) for spec, (state, step) in zip(runs, states, strict=True) if state != "done"]
    rows = read_rates(rates)
    if estimate:
        rows = [*rows, *cost.estimate((spec for spec, _ in waiting), rows, console.print)]
    evaluations = evaluation_speed.read_rows(evaluation_speed.evaluation_path(rates))
    hours = iter(cost.costs(waiting, rows, evaluations))
    planned = [
        Planned(spec, state, None if state == "done" else next(hours))
        for spec, (state, _) in zip(runs, states, strict=True)
    ]
    console.print(table_of_runs(planned) if len(runs) <= MOST_ROWS else table_of_counts(planned))
    console.print(table_of_domains(planned))
    count = sum(len(spec.seeds) for spec in runs)
    begun = sum(run.state == "begun" for run in planned)
    console.print(
        f"{len(runs)} runs of {count} seeds in all; {len(runs) - len(waiting)} done, {len(waiting)} to do"
        + (f" ({begun} of them begun)" if begun else "")
    )
    print_data([run.spec for run in planned if run.state != "done"])
    device = rows[0]["device"] if rates and rows else device_name()
    print_cost([run for run in planned if run.state != "done"], device, {row["domain"] for row in evaluations})


def state_of(spec: RunSpec) -> tuple[str, int]:
    """("done", "begun" or "to do", the step that the run has reached)."""
    if is_done(spec):
        return "done", spec.protocol.steps
    step = max(0, RunDirectory(run_path(spec)).status.get("step", 0))
    return ("begun" if step else "to do"), step


def table_of_runs(planned: list[Planned]) -> Table:
    """A row for every run."""
    table = Table("agent", "task", "seeds", "steps", "state", "hours")
    for run in planned:
        seeds = format_seeds(run.spec.seeds)
        table.add_row(
            run.spec.label, run.spec.task, seeds, f"{run.spec.protocol.steps:,}", run.state, str(run.hours or "")
        )
    return table


def table_of_counts(planned: list[Planned]) -> Table:
    """Runs done of all runs, for every agent and domain."""
    done = Counter((run.spec.label, run.domain) for run in planned if run.state == "done")
    every = Counter((run.spec.label, run.domain) for run in planned)
    domains = list(dict.fromkeys(run.domain for run in planned))
    table = Table("agent", *(domain.replace("-", "\n") for domain in domains), title="runs done of all", padding=0)
    for agent in dict.fromkeys(run.spec.label for run in planned):
        table.add_row(agent, *(f"{done[agent, domain]}/{every[agent, domain]}" for domain in domains))
    return table


def table_of_domains(planned: list[Planned]) -> Table:
    """What is to do in every domain, and what it costs."""
    table = Table("domain", "tasks to do", "runs to do", "hours a task", "hours")
    for domain in dict.fromkeys(run.domain for run in planned):
        waiting = [run for run in planned if run.domain == domain and run.state != "done"]
        tasks = len({run.spec.task for run in waiting})
        total = sum((run.hours for run in waiting if run.hours), Hours())
        partly = ", more unknown" if any(run.hours is None for run in waiting) else ""
        each, all_ = (f"{total / tasks}{partly}", f"{total}{partly}") if total.likely else ("", "")
        table.add_row(domain, str(tasks), str(len(waiting)), each, all_)
    return table


def print_data(waiting: list[RunSpec]) -> None:
    """Name the datasets that the runs lack, with their sizes."""
    for path, spec in {data_path(spec): spec for spec in waiting}.items():
        absent = missing_data(spec)
        if path is None or not absent:
            continue
        sizes = [size for _, size in absent if size is not None]
        about = f"about {sum(sizes) / 1e9:.1f} GB" if sizes else "of unknown size"
        what = f"would be downloaded, {about}"
        if spec.data is not None:
            what = f"would be generated ({spec.data.transitions:,} transitions)"
        elif len(absent) > 1:
            what = f"{len(absent)} files {what}"
        console.print(f"data {path}: missing, {what}", soft_wrap=True)


def print_cost(waiting: list[Planned], device: str, evaluated: set[str]) -> None:
    """Print the hours of all, and how to know those that are not known: `evaluated` are the domains whose evaluation
    is counted.
    """
    if not waiting:
        return
    known = [run.hours for run in waiting if run.hours]
    if known:
        total = sum(known, Hours())
        console.print(f"on {device}: {total} hours for {len(known)} of {len(waiting)} runs")
        without = sorted({run.domain for run in waiting if run.hours} - evaluated)
        if without:
            console.print(
                "evaluation is not counted for domains where its speed was not measured: "
                f"python -m benchmark.evaluation_speed --domains={','.join(without)}",
                soft_wrap=True,
            )
    unknown = [run.spec for run in waiting if run.hours is None]
    if unknown:
        seeds = ",".join(map(str, sorted({len(spec.seeds) for spec in unknown})))
        console.print(
            f"the cost of {len(unknown)} runs is unknown: the speed of networks of their sizes on {device} is not "
            "recorded; time them briefly with --estimate, or measure and record:",
            soft_wrap=True,
        )
        for domain, agents in cost.to_measure(unknown).items():
            names = ",".join(agents)
            command = f"python -m benchmark.throughput --agents={names} --seeds={seeds} --domain={domain}"
            console.print(f"  {command}", soft_wrap=True)


def launch(out: Path, runs: list[RunSpec], how: How, watch: bool = False) -> int:
    """Do the runs that are not done, or submit them to a cluster; report, say what failed, return the exit code."""
    make_folder(out)
    waiting = [spec for spec in runs if not is_done(spec)]
    if len(waiting) < len(runs):
        console.print(f"{len(runs) - len(waiting)} of {len(runs)} runs are finished already")
    if how.launcher == "slurm":
        slurm.check_cluster(how.cluster)
    reasons = prepare(waiting)
    outcomes = [Outcome(run_path(spec), reasons[data_path(spec)]) for spec in waiting if data_path(spec) in reasons]
    for spec in waiting:
        if data_path(spec) in reasons:
            record_death(spec, reasons[data_path(spec)])
    ready = [spec for spec in waiting if data_path(spec) not in reasons]
    if how.launcher == "slurm":
        submit(out, runs, ready, how)
        if not watch:
            return print_outcomes(outcomes)
        code = status.show(out, console, watch=True)
        report(out, runs)
        return max(code, print_outcomes(outcomes))
    if ready:
        outcomes += run_here(out, runs, ready, how)
    report(out, runs)
    return print_outcomes(outcomes)


def run_here(out: Path, runs: list[RunSpec], ready: list[RunSpec], how: How) -> list[Outcome]:
    """Do runs on this machine; a launch on record, which --status reads and --cancel ends."""
    if how.launcher == "debug":
        return run_in_this_process(ready)
    record = begin(out, runs, how)
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        with record.lock:
            return run_locally(
                ready,
                console,
                runs_per_process=how.runs_per_process,
                jobs=how.jobs,
                timeout=how.timeout,
                logs=record.folder,
            )
    finally:
        signal.signal(signal.SIGTERM, before)


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def begin(out: Path, runs: list[RunSpec], how: How) -> Launch:
    """Put a launch on record."""
    options = dataclasses.asdict(how)
    return Launch.begin(out, runs, options.pop("launcher"), options)


def submit(out: Path, runs: list[RunSpec], ready: list[RunSpec], how: How) -> None:
    """Submit the runs that are not in Slurm's queue already."""
    busy, done = set(), set()
    if read_launches(out):
        states = {run.path: run.state for run in status.run_states(out)}
        busy = {path for path, state in states.items() if state in ("queued", "running")}
        done = {path for path, state in states.items() if state == "done"}  # since the runs were planned
    ready = [spec for spec in ready if run_path(spec) not in done]
    chosen = [spec for spec in ready if run_path(spec) not in busy]
    if len(chosen) < len(ready):
        console.print(f"{len(ready) - len(chosen)} runs are queued or running already")
    if not chosen:
        return
    most = slurm.limits(how.cluster)
    size = slurm.runs_per_job(len(chosen), how.runs_per_job, how.runs_per_process, most)
    record = begin(out, runs, how)
    index = {run_path(spec): i for i, spec in enumerate(runs)}
    record.about["submitted"] = [index[run_path(spec)] for spec in chosen]
    record.save()
    job = slurm.RunsJob(how.runs_per_process, how.jobs, how.timeout, how.cluster.signal_delay)
    slurm.submit(
        *(record, chosen, how.cluster, job, size, most),
        on_array=lambda array: console.print(f"submitted array {array.job}: {array.jobs} jobs, {array.count} runs"),
    )
    console.print(
        f"submitted {len(chosen)} runs, {size} to a job; logs: {record.folder}\n"
        f"follow them: python run_all.py --status --watch --out={out}",
        soft_wrap=True,
    )


def prepare(runs: list[RunSpec]) -> dict[Path | None, str]:
    """Make or fetch the data of the runs; return why, for the datasets that cannot be had."""
    reasons = {}
    for path, spec in {data_path(spec): spec for spec in runs if spec.protocol.steps}.items():
        try:
            ensure_data(spec)
        except (UserError, RuntimeError, OSError) as error:
            reasons[path] = f"no data: {summary(error)}"
            console.print(f"{summary(error)}; the runs on other data go on")
    return reasons


def report(out: Path, runs: list[RunSpec]) -> None:
    """Print the summary of a folder of runs, and write its tables, figures and page."""
    from analysis.load import comparable, load_runs
    from analysis.report import write_folder
    from analysis.tables import print_summary

    started = time.perf_counter()
    loaded = load_runs(out)
    found = comparable(loaded)
    if found.evaluations.empty:
        console.print("no finished run to report yet")
        return
    print_summary(found.evaluations)
    for note in found.notes:
        console.print(f"note: {printable(note)}")
    paths = write_folder(loaded, out / "report", title=f"Benchmark report: {out.name}")
    console.print(f"written in {time.perf_counter() - started:.0f} s:")
    for path in paths:
        console.print(f"  {path}", markup=False, soft_wrap=True)


def print_outcomes(outcomes: list[Outcome]) -> int:
    """Say what failed, last, each reason once, and return the exit code."""
    busy = [outcome for outcome in outcomes if outcome.busy]
    if busy:
        console.print(f"{len(busy)} runs are left to another process that is at them")
    failed: dict[str, list[Path]] = {}
    for outcome in outcomes:
        if outcome.reason and not outcome.busy:
            failed.setdefault(outcome.reason, []).append(outcome.path)
    for reason, paths in failed.items():
        which = str(paths[0]) if len(paths) == 1 else f"{len(paths)} runs, the first {paths[0]}"
        log = paths[0] / "log.txt"
        console.print(
            f"failed: {which}: {reason}" + (f" (log: {log})" if log.exists() else ""), markup=False, soft_wrap=True
        )
    return 1 if failed else 0
