"""What a sweep is asked to do: its settings, domains and seeds, checked."""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from agents.base import Agent, numeric_fields
from benchmark.common.errors import UserError, check_choice, nearest
from benchmark.common.options import folder, names, whole_number
from benchmark.planning.configure import configure, parse_settings, settings_of, switches
from benchmark.planning.from_options import check_size, generated_from, protocol_from
from benchmark.planning.memory import check_memory
from benchmark.planning.plan import plan
from benchmark.planning.registry import agent_class
from benchmark.planning.suites import Suite, get_suite
from benchmark.runs.protocol import Generated, Protocol
from benchmark.runs.run import RunSpec
from benchmark.runs.seeds import parse_seeds
from benchmark.sweeping.protocol import check_seeds
from envs.tasks import DOMAINS, TOY_TASKS, Domain, Task, default_task


@dataclasses.dataclass(frozen=True)
class Sweep:
    """What the command line asks for, checked."""

    agent: str
    cls: type[Agent]
    suite: Suite
    domains: tuple[Domain, ...]
    sweeps: dict[str, list[float]]
    settings: dict[str, str]
    protocol: Protocol
    seeds: tuple[int, ...]
    report_seeds: tuple[int, ...]
    folder: Path
    data: Generated | None
    data_dir: str | None
    budget: int | None
    anew: bool
    dry_run: bool

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
    if options.report and options.sweep:
        raise UserError(f"--sweep {options.sweep[0]} does not go with --report, which trains what was tuned")
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
        dry_run=options.dry_run,
    )
    run = sweep.plan(tuned_on[:1], report_seeds if options.report else seeds, options.out, settings)[0]
    check_size(run)
    check_memory(cls.name, configure(cls, run.settings), len(run.seeds) * count)
    return sweep


def parse_sweeps(cls: type[Agent], items: Sequence[str]) -> dict[str, list[float]]:
    """Parse ["alpha=0.1,1,10", "expectile=0.7,0.9"]. Raises a UserError that names what cannot be swept, and why."""
    fields = {field.name for field in dataclasses.fields(cls.Config)}
    numeric = numeric_fields(cls.Config)
    sweeps: dict[str, list[float]] = {}
    for name, text in parse_settings(items).items():
        if name not in fields:
            raise UserError(
                f"agent '{cls.name}' has no hyperparameter '{name}'{nearest(name, fields)}; "
                f"it can sweep: {', '.join(numeric)}"
            )
        if name not in numeric:
            raise UserError(
                f"'{name}' cannot be swept: it changes the structure of the compiled program; give each of its values "
                f"a sweep of its own with --set {name}=...; '{cls.name}' can sweep: {', '.join(numeric)}"
            )
        values = [getattr(configure(cls, {name: value}), name) for value in text.split(",")]
        if len(set(values)) < len(values):
            raise UserError(f"--sweep {name}={text} names a value twice")
        check_parts(cls, name, values)
        sweeps[name] = values
    if not sweeps:
        raise UserError(
            f"--sweep is needed, e.g. --sweep {numeric[-1]}=0.1,1,10; '{cls.name}' can sweep: {', '.join(numeric)}"
        )
    if len(sweeps) < len(items):
        raise UserError("--sweep names a hyperparameter twice; give all its values together, separated by commas")
    return sweeps


def check_parts(cls: type[Agent], name: str, values: Sequence[float]) -> None:
    """Raise a UserError where a part of the agent is there at some of a hyperparameter's values and not at others."""
    for switch, number in switches(cls).items():
        if number == name and min(values) <= 0 < max(values):
            listed = ",".join(f"{value:g}" for value in values)
            raise UserError(
                f"--sweep {name}={listed}: at 0 there is no part that '{switch}' switches, which is another compiled "
                f"program than above 0; sweep the values above 0, and give 0 a run or a sweep of its own with --set "
                f"{name}=0"
            )


def combinations(sweeps: Mapping[str, Sequence[float]]) -> list[dict[str, float]]:
    """All settings of a sweep, the last hyperparameter changing fastest."""
    return [dict(zip(sweeps, values, strict=True)) for values in itertools.product(*sweeps.values())]


def setting_name(setting: Mapping[str, float]) -> str:
    """A setting as a folder's name: "alpha=0.1,expectile=0.9"."""
    return ",".join(f"{name}={value:g}" for name, value in setting.items())
