"""What `run_all.py` does with its options."""

from __future__ import annotations

import argparse
import dataclasses
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmark.configure import agent_class, agent_names, parse_seeds, parse_settings
from benchmark.errors import UserError, check_choice
from benchmark.launch import Outcome, run_locally
from benchmark.plan import plan, whole_number
from benchmark.records import make_folder
from benchmark.suites import PROTOCOLS, SUITES, Suite, get_protocol, get_suite
from benchmark.train import RunSpec, data_path, ensure_data, is_done, run_path
from envs.tasks import Task

console = Console(highlight=False)


def run(options: argparse.Namespace) -> int:
    """Do what the options ask; return the exit code."""
    if options.list:
        list_everything()
        return 0
    if not options.suite:
        raise UserError(f"--suite is needed: {', '.join(SUITES)} (--list says more)")
    suite = get_suite(options.suite)
    out = Path(options.out or f"runs/{suite.name}")
    runs = plan_from(options, suite, out)
    if options.dry_run:
        print_plan(runs)
        return 0
    outcomes: list[Outcome] = []
    if not options.report:
        make_folder(out)
        outcomes = launch(runs, suite.runs_per_process)
    report(out, runs)
    return print_outcomes(outcomes)


def plan_from(options: argparse.Namespace, suite: Suite, out: Path) -> list[RunSpec]:
    """The runs that the options choose from a suite."""
    protocol = get_protocol(options.protocol or suite.protocol)
    if options.steps:
        protocol = protocol.scaled_to(whole_number("--steps", options.steps))
    if options.eval_episodes:
        episodes = whole_number("--eval-episodes", options.eval_episodes)
        protocol = dataclasses.replace(protocol, eval_episodes=episodes)
    agents = options.agents.split(",") if options.agents else list(suite.agents)
    for agent in agents:
        agent_class(agent)
    return plan(
        suite,
        agents=agents,
        tasks=choose_tasks(suite, options.domains, options.tasks),
        seeds=parse_seeds(options.seeds) if options.seeds else suite.seeds,
        protocol=protocol,
        out=str(out),
        settings=parse_settings(options.set),
        data_dir=options.data_dir,
        seeds_per_process=whole_number("--seeds-per-process", options.seeds_per_process)
        if options.seeds_per_process
        else None,
    )


def choose_tasks(suite: Suite, domains: str | None, tasks: str | None) -> list[Task]:
    """The suite's tasks, or those of the domains and names given."""
    chosen = list(suite.tasks)
    if domains:
        known = dict.fromkeys(task.domain.name for task in suite.tasks)
        wanted = [check_choice(f"domain of suite '{suite.name}'", name, known) for name in domains.split(",")]
        chosen = [task for task in chosen if task.domain.name in wanted]
    if tasks:
        known = dict.fromkeys(task.name for task in chosen)
        wanted = [check_choice(f"task of suite '{suite.name}'", name, known) for name in tasks.split(",")]
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
    import sys

    return (sys.modules[cls.__module__].__doc__ or "").strip().split("\n")[0]


def print_plan(runs: list[RunSpec]) -> None:
    """Print what would run, what is done already and what data is missing."""
    table = Table("agent", "task", "seeds", "steps", "state")
    done = 0
    for spec in runs:
        finished = is_done(spec)
        done += finished
        if len(runs) <= 60:
            seeds = run_path(spec).name.removeprefix("seeds-")
            table.add_row(spec.agent, spec.task, seeds, f"{spec.protocol.steps:,}", "done" if finished else "to do")
    if len(runs) <= 60:
        console.print(table)
    count = sum(len(spec.seeds) for spec in runs)
    console.print(f"{len(runs)} runs of {count} seeds in all; {done} done, {len(runs) - done} to do")
    for path, spec in {data_path(spec): spec for spec in runs}.items():
        if path is not None and not path.exists():
            what = f"would be generated ({spec.data.transitions:,} transitions)" if spec.data else "would be downloaded"
            console.print(f"data {path}: missing, {what}")


def launch(runs: list[RunSpec], runs_per_process: int) -> list[Outcome]:
    """Prepare the data, then do every run that is not done."""
    waiting = [spec for spec in runs if not is_done(spec)]
    if len(waiting) < len(runs):
        console.print(f"{len(runs) - len(waiting)} of {len(runs)} runs are finished already")
    for spec in {data_path(spec): spec for spec in waiting}.values():
        ensure_data(spec)
    return run_locally(waiting, console, runs_per_process)


def report(out: Path, runs: list[RunSpec]) -> None:
    """Write and print the tables and figures of a folder of runs."""
    from analysis.figures import write_figures
    from analysis.load import comparable, load_runs
    from analysis.tables import print_summary, write_tables

    started = time.perf_counter()
    loaded = load_runs(out)
    found = comparable(loaded)
    if found.evaluations.empty:
        console.print("no finished run to report yet")
        return
    print_summary(found.evaluations)
    for note in found.notes:
        console.print(f"note: {note}", markup=False)
    folder = out / "report"
    paths = [*write_tables(found.evaluations, folder), *write_figures(found.evaluations, folder, runs=loaded.runs)]
    console.print(f"written in {time.perf_counter() - started:.0f} s:")
    for path in paths:
        console.print(f"  {path}", markup=False)


def print_outcomes(outcomes: list[Outcome]) -> int:
    """Say what failed, last, and return the exit code."""
    failed = [outcome for outcome in outcomes if outcome.reason]
    for outcome in failed:
        console.print(f"failed: {outcome.path}: {outcome.reason} (log: {outcome.path / 'log.txt'})", markup=False)
    return 1 if failed else 0
