"""Tune an agent fairly: `python -m benchmark.sweep --agent rql --domains scene-play --sweep alpha=0.1,1,10`.

All settings of numeric hyperparameters and all seeds train together as one batched axis of one compiled program. Every
setting leaves a run directory of its own, as if it had been run alone; a sweep that is stopped goes on when the same
command is given again.

The protocol of a fair comparison, which this command follows and enforces:

1. Tuning is on one task of each domain, OGBench's default (task 1 of the mazes, 2 of cube and scene, 4 of the puzzles).
2. Tuning has seeds of its own (1000 and 1001), none that any suite reports.
3. All agents tuned into one folder have the same budget, which the first fixes: updates, seeds, episodes, tasks a
   domain, and the most settings a domain. Hyperparameters given with --set are not searched, and are for all domains.
4. The setting with the highest mean success at the last evaluation wins; on a tie the higher mean over all
   evaluations, then the earlier in the order given.
5. Results are reported with fresh seeds on the other tasks of the domain (`--report`), the tuning task left out. A toy
   has only one task, which is reported with fresh seeds.

In the folder (default runs/sweep): tuning/<setting>/<agent>/<task>/ the runs; tuned/<agent>.yaml the best setting of
each domain, in the form of benchmark/planning/tuned/ (beside an agent's own file it is read from there); tables and
heat maps in tuned/; report/ the reported runs, to be read like those of any suite.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from agents.base import Agent
from benchmark.common.errors import UserError, check_choice, run_main
from benchmark.common.files import make_folder
from benchmark.common.options import Parser, folder, names, whole_number
from benchmark.loop.worker import execute_all
from benchmark.planning.asked import begin_anew
from benchmark.planning.configure import configure, describe, parse_settings, settings_of
from benchmark.planning.from_options import check_size, generated_from, protocol_from
from benchmark.planning.memory import check_memory
from benchmark.planning.plan import plan
from benchmark.planning.protocols import PROTOCOLS
from benchmark.planning.registry import agent_class
from benchmark.planning.suites import Suite, get_suite
from benchmark.runs.protocol import Generated
from benchmark.runs.record import RunDirectory
from benchmark.runs.run import RunSpec
from benchmark.runs.seeds import format_seeds, parse_seeds
from benchmark.sweeping.protocol import (
    REPORT_SEEDS,
    TUNING_SEEDS,
    check_budget,
    check_seeds,
    combinations,
    console,
    parse_sweeps,
    reporting_tasks,
    setting_name,
)
from benchmark.sweeping.results import choose, tuned_path, write_tuned
from benchmark.sweeping.training import sweep_path, sweep_task
from envs.tasks import DOMAINS, TOY_TASKS, Domain, Task, default_task


def report(options: Sweep) -> int:
    """Train tuned settings on the tasks and seeds that were not tuned on; returns the number of runs that failed."""
    path = tuned_path(options.folder, options.cls)
    if not path.is_file():
        raise UserError(f"no {path}: give the sweep first, without --report")
    domains = yaml.safe_load(path.read_text())["domains"]
    runs: list[RunSpec] = []
    for domain in options.domains:
        check_choice("tuned domain", domain.name, domains)
        tasks = reporting_tasks(domain)
        out = str(options.folder / "report")
        runs += options.plan(tasks, options.report_seeds, out, {**options.settings, **domains[domain.name]})
    if options.anew:
        begin_anew(runs)
    console.print(f"reporting {options.cls.name} on {len(runs)} tasks with seeds {format_seeds(options.report_seeds)}")
    return execute_all(runs)


@dataclasses.dataclass(frozen=True)
class Sweep:
    """What the command line asks for, checked."""

    agent: str
    cls: type[Agent]
    suite: Suite
    domains: tuple[Domain, ...]
    sweeps: dict[str, list[float]]
    settings: dict[str, str]
    protocol: Any
    seeds: tuple[int, ...]
    report_seeds: tuple[int, ...]
    folder: Path
    data: Generated | None
    data_dir: str | None
    budget: int | None
    anew: bool

    def plan(self, tasks: Sequence[Task], seeds: Sequence[int], out: str, settings: Mapping[str, Any]) -> list[RunSpec]:
        """A run on each task with these settings."""
        runs = plan(
            self.suite,
            agents=[self.agent],
            tasks=tasks,
            seeds=seeds,
            protocol=self.protocol,
            out=out,
            settings=settings,
            data_dir=self.data_dir,
        )
        return [dataclasses.replace(run, data=self.data) for run in runs]

    def runs(self, domain: Domain) -> list[RunSpec]:
        """The runs of all settings on a domain's tuning task."""
        found = []
        for setting in combinations(self.sweeps):
            out = str(self.folder / "tuning" / setting_name(setting))
            found += self.plan([default_task(domain)], self.seeds, out, {**self.settings, **setting})
        return found


def parser() -> Parser:
    """The command line's options."""
    assert __doc__ is not None
    parser = Parser(
        prog="python -m benchmark.sweep", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--agent", help="name of an agent, or the path of a file that defines one")
    parser.add_argument(
        "--sweep",
        action="append",
        default=[],
        metavar="NAME=VALUES",
        help="a numeric hyperparameter and its values, separated by commas; repeatable, all combinations are tried",
    )
    parser.add_argument("--domains", help="domains, separated by commas (default: the suite's)")
    parser.add_argument("--suite", default="ogbench", help="whose protocol, data and settings (default: ogbench)")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a hyperparameter; repeatable")
    parser.add_argument("--seeds", default=TUNING_SEEDS, help=f"to tune on (default: {TUNING_SEEDS})")
    parser.add_argument("--report-seeds", default=REPORT_SEEDS, help=f"to report (default: {REPORT_SEEDS})")
    parser.add_argument("--protocol", help=f"one of {', '.join(PROTOCOLS)} (default: the suite's)")
    parser.add_argument("--steps", help="updates per run, instead of the protocol's")
    parser.add_argument("--eval-episodes", help="episodes per evaluation and seed, instead of the protocol's")
    parser.add_argument("--budget", help="most settings a domain, for all agents of the folder (default: the first's)")
    parser.add_argument("--out", default="runs/sweep", help="folder for results (default: runs/sweep)")
    parser.add_argument("--data-dir", help="folder of datasets (default: $RQL_DATA_DIR or ~/.ogbench/data)")
    parser.add_argument("--generate", metavar="N", help="train on N generated transitions instead of published data")
    parser.add_argument("--dry-run", action="store_true", help="print what would run")
    parser.add_argument("--anew", action="store_true", help="begin again; what the runs' folders hold is moved aside")
    parser.add_argument("--report", action="store_true", help="train what was tuned, on the tasks and seeds to report")
    return parser


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line, as text; `sweep_from` checks it."""
    return parser().parse_args(arguments)


def sweep_from(options: argparse.Namespace) -> Sweep:
    """Check what was asked. Raises a UserError before any work."""
    if not options.agent:
        raise UserError("--agent is needed; `python run_all.py --list` names them")
    cls, suite = agent_class(options.agent), get_suite(options.suite)
    known = {**DOMAINS, **{task.domain.name: task.domain for task in TOY_TASKS}}
    all_names = dict.fromkeys(task.domain.name for task in suite.tasks)
    asked = names("--domains", options.domains) if options.domains else all_names
    domains = tuple(known[check_choice("domain", name, known)] for name in asked)
    protocol = protocol_from(options, suite.protocol, cls.name)
    if not protocol.steps:
        raise UserError(f"--protocol: '{options.protocol}' trains nothing, so nothing can be tuned under it")
    seeds, report_seeds = parse_seeds(options.seeds), parse_seeds(options.report_seeds)
    check_seeds(seeds, report_seeds)
    settings = settings_of(cls.name, parse_settings(options.set), [cls.name])
    sweeps = {} if options.report else parse_sweeps(cls, options.sweep)
    both = sorted(set(settings) & set(sweeps))
    if both:
        raise UserError(f"{both[0]} is given both with --set and with --sweep; choose one")
    count = math.prod(len(values) for values in sweeps.values())
    budget = whole_number("--budget", options.budget) if options.budget else None
    if budget is not None and budget < count:
        raise UserError(f"--budget {budget} is below the {count} settings of this sweep")
    tuned_on = [default_task(domain) for domain in domains]
    if options.data_dir:
        folder("--data-dir", options.data_dir)
    sweep = Sweep(
        agent=options.agent,
        cls=cls,
        suite=suite,
        domains=domains,
        sweeps=sweeps,
        settings=settings,
        protocol=protocol,
        seeds=seeds,
        report_seeds=report_seeds,
        folder=folder("--out", options.out),
        data=generated_from(options.generate, tuned_on) if options.generate else suite.data,
        data_dir=options.data_dir,
        budget=budget,
        anew=options.anew,
    )
    run = sweep.plan(tuned_on[:1], report_seeds if options.report else seeds, options.out, settings)[0]
    check_size(run)
    check_memory(cls.name, configure(cls, run.settings), len(run.seeds) * count)
    return sweep


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns its exit code."""
    options = parse(arguments)
    sweep = sweep_from(options)
    if options.report:
        return 1 if report(sweep) else 0
    runs = [sweep.runs(domain) for domain in sweep.domains]
    print_plan(sweep, runs)
    if options.dry_run:
        return 0
    make_folder(sweep.folder / "tuned")
    check_budget(sweep.folder, runs, sweep.budget)
    path = tuned_path(sweep.folder, sweep.cls)
    for domain, of_domain in zip(sweep.domains, runs, strict=True):
        if sweep.anew:
            RunDirectory(sweep_path(of_domain[0], sweep.folder)).set_aside()
            begin_anew(of_domain)
        sweep_task(of_domain, sweep.folder)
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
        told = f"tasks {others}" if not domain.toy else "the same, its only task,"
        console.print(
            f"  {domain.name}: tuned on {default_task(domain).name} with seeds {format_seeds(sweep.seeds)}; "
            f"--report trains {told} with seeds {format_seeds(sweep.report_seeds)}",
            soft_wrap=True,
        )


if __name__ == "__main__":
    run_main(main)
