"""What `run_all.py` does with its options."""

from __future__ import annotations

import argparse
import dataclasses
import signal
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

from benchmark.common.errors import UserError, check_choice, printable, summary
from benchmark.common.files import make_folder
from benchmark.common.options import MOST_JOBS, MOST_MINUTES, input_file, names, whole_number
from benchmark.common.reading import Damaged
from benchmark.common.terminal import console
from benchmark.launching import cost, slurm, slurm_options, status
from benchmark.launching.dry_run import print_origins, print_other_code, print_plan, print_starts
from benchmark.launching.ledger import Launch, read_launches
from benchmark.launching.listing import list_everything
from benchmark.launching.local import Outcome, record_death, run_in_this_process, run_locally, slots
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
from benchmark.planning.run import Run, begin_anew
from benchmark.planning.suites import SUITES, Suite, get_suite
from benchmark.runs.run import RunSpec
from benchmark.runs.seeds import MOST_SEEDS, parse_seeds
from benchmark.speed.disk import check_disk
from benchmark.speed.rates import read_rates
from benchmark.watching.at_the_end import film_together
from envs.tasks import Task

MOST_RUNS = 1_000_000
"""Most seeds of all tasks and agents together, each of which may be a run."""
OF_SLURM = (*slurm_options.NAMES, "slurm_config", "runs_per_job")
"""Options that only --launcher=slurm takes."""
OF_RETRYING = {"retry_failed", "out", "suite", "watch", "last", "launcher", "jobs", "runs_per_process", "run_timeout"}
OF_RETRYING |= {*OF_SLURM}
"""Options that --retry-failed takes: which folder, and how its runs are launched."""


def run(options: argparse.Namespace) -> int:
    """Do what the options ask; return the exit code."""
    if options.list:
        list_everything()
        return 0
    last = whole_number("--last", "1" if options.last is None else options.last)
    if options.retry_failed:
        return retry(options, last)
    if not options.suite:
        raise UserError(f"--suite is needed: {', '.join(SUITES)} (--list says more)")
    suite = get_suite(options.suite)
    out = Path(options.out or f"runs/{suite.name}")
    how = how_to_launch(options, suite.runs_per_process)
    runs = runs_asked_for(options, suite, out)
    fewest = min(run.protocol.evaluations for run in runs)
    if last > fewest and fewest and not options.report:
        raise UserError(f"--last must be at most {fewest}, the evaluations of these runs, not {last}")
    if options.dry_run or options.estimate:
        print_plan(runs, options.estimate, options.rates, options.anew, how.at_once)
        return 0
    if options.report:
        report(out, last)
        return 0
    return launch(out, runs, how, options.watch, last, anew=options.anew)


def refuse(options: argparse.Namespace, names: Collection[str], why: str) -> None:
    """Raise a UserError that names the first of these options that is given."""
    for name in names:
        if getattr(options, name) not in (None, False, []):
            raise UserError(f"--{name.replace('_', '-')} {why}")


def retry(options: argparse.Namespace, last: int) -> int:
    """Launch the failed and the stopped runs of a folder again, as they were launched last. Their configurations, for
    which their agents would be imported, are left to their own processes.
    """
    refuse(options, vars(options).keys() - OF_RETRYING, "does not go with --retry-failed: runs are made as they were")
    again: list[tuple[Path, list[RunSpec], How]] = []
    code = 0
    for out in status.folders(options.out, options.suite):
        damage: list[str] = []
        runs = [run.spec for run in status.run_states(out, damage.append) if run.state in status.NOT_WELL]
        for reason in damage:
            console.print(f"damaged, and left out: {reason}", markup=False, soft_wrap=True)
        code = max(code, int(bool(damage)))
        if not runs:
            console.print(f"{out}: no run failed", markup=False)
            continue
        before = read_launches(out)[-1].about
        how = dataclasses.replace(how_to_launch(options, 1), **given_before(before, options))
        if how.launcher != "slurm":
            refuse(options, OF_SLURM, f"is for Slurm, and the runs of {out} are launched by --launcher={how.launcher}")
        again.append((out, runs, how))
    for out, runs, how in again:
        code = max(code, launch(out, runs, how, options.watch, last, is_done=Run.says_done))
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


def launch(
    out: Path,
    specs: list[RunSpec],
    how: How,
    watch: bool = False,
    last: int = 1,
    is_done: Callable[[Run], bool] = Run.is_done,
    anew: bool = False,
) -> int:
    """Do the runs that are not done, or submit them to a cluster; report, say what failed, return the exit code. With
    `anew` all are done, and what their folders hold is moved aside once nothing more is to be refused.

    A run whose records `is_done` finds damaged, whose agent's file is gone, or whose data cannot be had, fails alone.
    """
    waiting: list[Run] = []
    done: list[Run] = []
    refused: dict[Path, str] = {}
    for run in map(Run, specs):
        try:
            if run.spec.agent.endswith(".py") and not Path(run.spec.agent).is_file():
                refused[run.path] = f"no agent file at {run.spec.agent}"
            else:
                (waiting if anew or not is_done(run) else done).append(run)
        except Damaged as error:
            refused[run.path] = error.brief
    check_disk(waiting, out, how.at_once)
    make_folder(out)
    for run in map(Run, specs):
        if run.path in refused:
            record_death(run.spec, refused[run.path])
    if done:
        console.print(f"{len(done)} of {len(specs)} runs are finished already")
    print_other_code(done)
    if waiting:
        print_origins([run.spec for run in waiting])
        print_starts([run.spec for run in waiting])
    if how.launcher == "slurm":
        slurm.check_cluster(how.cluster, out)
    reasons = prepare(waiting)
    for run in waiting:
        if run.data_path in reasons:
            refused[run.path] = reasons[run.data_path]
            record_death(run.spec, refused[run.path])
    outcomes = [Outcome(path, reason) for path, reason in refused.items()]
    ready = [run.spec for run in waiting if run.path not in refused]
    if how.launcher == "slurm":
        submit(out, specs, ready, how, anew)
        if not watch:
            return print_outcomes(outcomes)
        code = status.show(out, console, watch=True)
        code = max(code, report_if_possible(out, last))
        return max(code, print_outcomes(outcomes))
    if anew:
        begin_anew(ready)
    if ready:
        outcomes += run_here(out, specs, ready, how)
        film(out, specs)
    code = report_if_possible(out, last)
    return max(code, print_outcomes(outcomes))


def film(out: Path, specs: list[RunSpec]) -> None:
    """Film the runs of a suite that is filmed."""
    filmed = [spec for spec in specs if spec.suite in SUITES and SUITES[spec.suite].filmed]
    for line in film_together(filmed, out):
        console.print(line, markup=False, soft_wrap=True)


def report_if_possible(out: Path, last: int) -> int:
    """Report; where that cannot be written say so, and return 1: how the runs ended is still to be told."""
    try:
        report(out, last)
    except (UserError, OSError) as error:
        console.print(f"no report: {error}", markup=False, soft_wrap=True)
        return 1
    return 0


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


def submit(out: Path, runs: list[RunSpec], ready: list[RunSpec], how: How, anew: bool = False) -> None:
    """Submit the runs that are not in Slurm's queue already; with `anew` they must not be."""
    busy = set()
    if read_launches(out):
        states = {run.path: run.state for run in status.run_states(out)}
        busy = {path for path, state in states.items() if state in ("queued", "running")}
    if not anew:
        ready = [spec for spec in ready if not Run(spec).says_done()]  # some are done since they were planned
    chosen = [spec for spec in ready if spec.path not in busy]
    if anew and len(chosen) < len(ready):
        raise UserError(f"{len(ready) - len(chosen)} runs are queued or running: --cancel them before --anew")
    if len(chosen) < len(ready):
        console.print(f"{len(ready) - len(chosen)} runs are queued or running already")
    if not chosen:
        return
    most = slurm.limits(how.cluster)
    size = slurm.runs_per_job(len(chosen), how.runs_per_job, how.runs_per_process * how.in_a_job, most)
    if anew:
        begin_anew(chosen)
    record = begin(out, runs, how)
    index = {spec.path: i for i, spec in enumerate(runs)}
    record.about["submitted"] = [index[spec.path] for spec in chosen]
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


def prepare(runs: list[Run]) -> dict[Path | None, str]:
    """Make or fetch the data of the runs; return why, for the datasets that cannot be had."""
    reasons = {}
    for path, run in {run.data_path: run for run in runs if run.spec.protocol.steps}.items():
        try:
            run.ensure_data()
        except (UserError, RuntimeError, OSError) as error:
            reasons[path] = f"no data: {summary(error)}"
            console.print(f"{summary(error)}; the runs on other data go on")
    return reasons


def report(out: Path, last: int = 1) -> None:
    """Print the summary of a folder of runs, and write its tables, figures and page, of the last `last` evaluations."""
    from analysis import comparable, load_runs
    from analysis.page.writing import write_folder
    from analysis.tabulating.runs import print_summary

    started = time.perf_counter()
    found = comparable(load_runs(out), last=last)
    if not found.evaluations.empty:
        print_summary(found)
    for note in found.notes:
        console.print(f"note: {printable(note)}", markup=False)
    if found.evaluations.empty:
        console.print("no finished run to report yet")
        return
    paths = write_folder(found, out / "report", title=f"Benchmark report: {out.name}")
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
