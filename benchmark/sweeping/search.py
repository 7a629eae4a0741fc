"""A sweep from what was asked to the tuned settings, and to the runs that report them."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmark.common.errors import Stopped, UserError, check_choice
from benchmark.common.files import make_folder
from benchmark.common.reading import Damaged
from benchmark.common.terminal import console
from benchmark.loop.stopping import stop_asked, stop_signals_heeded
from benchmark.loop.worker import execute_all
from benchmark.planning.configure import configure, describe, typed
from benchmark.planning.run import Run, begin_anew
from benchmark.planning.tuned import read_tuned
from benchmark.runs.record import RunDirectory
from benchmark.runs.run import RunSpec
from benchmark.runs.seeds import format_seeds
from benchmark.speed.disk import check_disk, describe_disk
from benchmark.sweeping.asked import Sweep, setting_name, sweep_from
from benchmark.sweeping.protocol import check_budget, reporting_tasks
from benchmark.sweeping.results import choose, tuned_path, write_tuned
from benchmark.sweeping.together import sweep_path, train_settings
from envs.tasks import default_task

STOPPED = 143
"""The exit code of a sweep that was asked to stop: what a shell says of a program that SIGTERM ended."""


def search(options: argparse.Namespace) -> int:
    """Do what the command line asks for; returns its exit code."""
    sweep = sweep_from(options)
    try:
        with stop_signals_heeded():
            return show_results(sweep) if options.report else tune(sweep)
    except Stopped as stopped:
        again = ", without --anew" if sweep.anew else ""
        print(f"stopped: {stopped}; to go on, give the same command again{again}", file=sys.stderr)
        return STOPPED


def tune(sweep: Sweep) -> int:
    """Train all settings on each domain's tuning task, and write down the best; returns the exit code."""
    runs = [sweep.runs(domain) for domain in sweep.domains]
    print_plan(sweep, runs)
    if sweep.dry_run:
        for line in describe_disk([Run(spec) for of_domain in runs for spec in of_domain], sweep.folder, len(runs[0])):
            console.print(line, soft_wrap=True)
        return 0
    at_once = max(map(len, runs))  # a domain's settings train together
    check_room(sweep, [spec for of_domain in runs for spec in of_domain], at_once)
    make_folder(sweep.folder / "tuned")
    check_budget(sweep.folder, runs, sweep.budget)
    if sweep.anew:
        begin_anew([run for of_domain in runs for run in of_domain])
        for of_domain in runs:
            RunDirectory(sweep_path(of_domain[0], sweep.folder)).set_aside()
    path = tuned_path(sweep.folder, sweep.cls)
    for domain, of_domain in zip(sweep.domains, runs, strict=True):
        if stop_asked.is_set():
            raise Stopped(f"asked to stop before {domain.name}")
        train_settings(of_domain, sweep.folder)
        setting = choose(sweep.folder, of_domain, sweep.sweeps)
        console.print(f"best on {of_domain[0].task}: {setting_name(setting)}")
        text = (
            f"{sweep.cls.name}: best of {len(of_domain)} settings at {sweep.protocol.steps:,} updates, "
            f"seeds {format_seeds(sweep.seeds)}, one task a domain (benchmark.sweep)"
        )
        write_tuned(path, text, domain.name, {**_as_set(sweep, of_domain[0]), **setting})
    console.print(f"best settings: {path}", soft_wrap=True)
    if sweep.agent.endswith(".py"):
        beside = Path(sweep.agent).with_suffix(".yaml")
        console.print(f"to have them used wherever the agent is: cp {path} {beside}", soft_wrap=True)
    return 0


def check_room(sweep: Sweep, runs: Sequence[RunSpec], at_once: int) -> None:
    """Raise a UserError where the file system has less free than the runs that are not done will write."""
    check_disk([Run(spec) for spec in runs if sweep.anew or not _is_done(Run(spec))], sweep.folder, at_once)


def _is_done(run: Run) -> bool:
    try:
        return run.says_done()
    except Damaged:  # which is said where it is trained
        return False


def show_results(sweep: Sweep) -> int:
    """Train tuned settings on the tasks and seeds that were not tuned on; returns the exit code."""
    path = tuned_path(sweep.folder, sweep.cls)
    if not path.is_file():
        raise UserError(f"no {path}: give the sweep first, without --report")
    domains = read_tuned(path)["domains"]
    runs: list[RunSpec] = []
    for domain in sweep.domains:
        check_choice("tuned domain", domain.name, domains)
        refuse_other_values(sweep, domain.name, domains[domain.name])
        tasks = reporting_tasks(domain)
        out = str(sweep.folder / "report")
        runs += sweep.plan(tasks, sweep.report_seeds, out, {**sweep.settings, **domains[domain.name]})
    seeds = format_seeds(sweep.report_seeds)
    console.print(f"reporting {sweep.cls.name} on {len(runs)} tasks with seeds {seeds}")
    if sweep.dry_run:
        return 0
    check_room(sweep, runs, at_once=1)
    if sweep.anew:
        begin_anew(runs)
    ends: list[str] = []
    failed = execute_all(runs, lambda state, reason: ends.append(state))
    if "stopped" in ends or len(ends) < len(runs):
        raise Stopped("asked to stop; what is trained so far is saved")
    return 1 if failed else 0


def refuse_other_values(sweep: Sweep, domain: str, chosen: Mapping[str, Any]) -> None:
    """Raise a UserError where --set gives a hyperparameter another value than was tuned."""
    given, tuned = typed(sweep.cls, sweep.settings), typed(sweep.cls, chosen)
    for name in given:
        if name in tuned and given[name] != tuned[name]:
            raise UserError(
                f"--set {name}={sweep.settings[name]}: on {domain} {name} {chosen[name]} was tuned, which is reported; "
                "for another value leave out --report, or train it with run_all.py --label"
            )


def _as_set(sweep: Sweep, run: RunSpec) -> dict[str, Any]:
    """The hyperparameters given with --set, typed: part of what was tuned."""
    values = describe(configure(sweep.cls, run.settings))
    return {name: values[name] for name in sweep.settings}


def print_plan(sweep: Sweep, runs: Sequence[Sequence[RunSpec]]) -> None:
    """Say what will run."""
    settings, seeds = len(runs[0]), len(sweep.seeds)
    console.print(
        f"{sweep.cls.name}: {settings} settings x {seeds} seeds = {settings * seeds} members of one compiled program, "
        f"{sweep.protocol.steps:,} updates each",
        soft_wrap=True,
    )
    for domain in sweep.domains:
        others = ", ".join(str(task.number) for task in reporting_tasks(domain))
        told = f"tasks {others}" if not domain.single_task else "the same, its only task,"
        console.print(
            f"  {domain.name}: tuned on {default_task(domain).name} with seeds {format_seeds(sweep.seeds)}; "
            f"--report trains {told} with seeds {format_seeds(sweep.report_seeds)}",
            soft_wrap=True,
        )
