"""What `--dry-run` prints: what would run, is done, lacks data, and will cost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.markup import escape
from rich.table import Table

from benchmark.common.reading import Damaged
from benchmark.common.terminal import console
from benchmark.launching import cost
from benchmark.launching.cost import Hours
from benchmark.loop.device import device_name
from benchmark.planning.run import Run
from benchmark.runs.run import RunSpec
from benchmark.runs.seeds import format_seeds
from benchmark.speed import episodes
from benchmark.speed.disk import describe_disk
from benchmark.speed.rates import read_rates
from envs.tasks import get_task

MOST_ROWS = 60
"""Runs that a plan lists one by one; of more it counts."""


WAITING = ("to do", "begun")
"""States of runs that would be launched."""


@dataclass(frozen=True)
class RunInPlan:
    """A run of the plan."""

    run: Run
    state: str
    """"done", "to do", "begun" where there is something to go on from, or "damaged"."""
    hours: Hours | None
    """Hours of training that it still needs, None where that is not known."""
    reason: str = ""
    """What is damaged."""

    @property
    def spec(self) -> RunSpec:
        """What is asked."""
        return self.run.spec

    @property
    def domain(self) -> str:
        """Its domain's name."""
        return self.run.task.domain.name


def print_plan(
    specs: list[RunSpec], estimate: bool, rates: Path | None = None, anew: bool = False, at_once: int | None = 1
) -> None:
    """Print what would run, what is done already, what data is missing, what it writes to disk where so many train
    `at_once` (None: all), and what it will cost on this device.

    With `estimate` the agents whose speed was not recorded here are timed, else they have no cost; with `anew` no run
    counts as begun.
    """
    runs = [Run(spec) for spec in specs]
    states = [("to do", 0, "") if anew else state_of(run) for run in runs]
    waiting = [(spec, step) for spec, (state, step, _) in zip(specs, states, strict=True) if state in WAITING]
    rows = read_rates(rates)
    if estimate:
        rows = [*rows, *cost.estimate((spec for spec, _ in waiting), rows, console.print)]
    evaluations = episodes.read_rows(episodes.evaluation_path(rates))
    hours = iter(cost.costs(waiting, rows, evaluations))
    planned = [
        RunInPlan(run, state, next(hours) if state in WAITING else None, reason)
        for run, (state, _, reason) in zip(runs, states, strict=True)
    ]
    console.print(table_of_runs(planned) if len(runs) <= MOST_ROWS else table_of_counts(planned))
    console.print(table_of_domains(planned))
    print_origins(specs)
    print_starts(specs)
    count = sum(len(spec.seeds) for spec in specs)
    begun = sum(run.state == "begun" for run in planned)
    damaged = [run for run in planned if run.state == "damaged"]
    console.print(
        f"{len(runs)} runs of {count} seeds in all; {len(runs) - len(waiting) - len(damaged)} done, "
        f"{len(waiting)} to do"
        + (f" ({begun} of them begun)" if begun else "")
        + (f"; {len(damaged)} damaged, which would fail:" if damaged else "")
    )
    print_other_code([one.run for one in planned if one.state == "done"])
    for run in damaged[:MOST_ROWS]:
        console.print(f"damaged: {run.spec.path}: {run.reason}", markup=False, soft_wrap=True)
    print_data([one.run for one in planned if one.state in WAITING])
    if waiting:
        for line in describe_disk([one.run for one in planned if one.state in WAITING], Path(specs[0].out), at_once):
            console.print(line, markup=False, soft_wrap=True)
    device = rows[0]["device"] if rates and rows else device_name()
    print_cost([run for run in planned if run.state in WAITING], device, {row["domain"] for row in evaluations})


def state_of(run: Run) -> tuple[str, int, str]:
    """(the state, as of `RunInPlan`; the step that the run has reached; what is damaged)."""
    try:
        if run.is_done():
            return "done", run.spec.steps, ""
        step = run.step()
    except Damaged as error:
        return "damaged", 0, error.brief
    return ("begun" if step else "to do"), step, ""


def table_of_runs(planned: list[RunInPlan]) -> Table:
    """A row for every run."""
    table = Table("agent", "task", "seeds", "steps", "state", "hours")
    for run in planned:
        seeds = format_seeds(run.spec.seeds)
        table.add_row(*(run.spec.label, run.spec.task, seeds, f"{run.spec.steps:,}", run.state, str(run.hours or "")))
    return table


def print_origins(runs: Sequence[RunSpec]) -> None:
    """Print where each agent's hyperparameters come from, but for those of the domain and its own defaults."""
    rows: dict[tuple[str, str], tuple[dict[str, None], dict[str, None]]] = {}
    every: dict[str, set[str]] = {}
    for spec in runs:
        every.setdefault(spec.label, set()).add(domain := get_task(spec.task).domain.name)
        given = {name: origin for name, origin in spec.origins.items() if origin not in ("default", "domain")}
        for name, origin in given.items() or [("all", "default" if spec.origins else "not recorded")]:
            names, domains = rows.setdefault((spec.label, origin), ({}, {}))
            names[name] = domains[domain] = None
    table = Table("agent", "hyperparameters", "from", "on", title="hyperparameters but for defaults and the domain's")
    for (agent, origin), (names, domains) in rows.items():
        where = "all" if len(domains) == len(every[agent]) else ", ".join(domains)
        table.add_row(agent, ", ".join(names), escape(origin), where)
    console.print(table)


def print_starts(runs: Sequence[RunSpec]) -> None:
    """Say what the runs start from, and which networks each agent begins with."""
    said: dict[str, None] = {}
    for spec in runs:
        if start := spec.start:
            taken = [name if name == its else f"{name} (its {its})" for name, its in start.networks.items()]
            said[f"{spec.label} starts from {start.folder} ({start}): {', '.join(taken)}"] = None
    for line in said:
        console.print(line, markup=False, soft_wrap=True)


def table_of_counts(planned: list[RunInPlan]) -> Table:
    """Runs done of all runs, for every agent and domain."""
    done = Counter((run.spec.label, run.domain) for run in planned if run.state == "done")
    every = Counter((run.spec.label, run.domain) for run in planned)
    domains = list(dict.fromkeys(run.domain for run in planned))
    table = Table("agent", *(domain.replace("-", "\n") for domain in domains), title="runs done of all", padding=0)
    for agent in dict.fromkeys(run.spec.label for run in planned):
        table.add_row(agent, *(f"{done[agent, domain]}/{every[agent, domain]}" for domain in domains))
    return table


def table_of_domains(planned: list[RunInPlan]) -> Table:
    """What is to do in every domain, and what it costs."""
    table = Table("domain", "tasks to do", "runs to do", "hours a task", "hours")
    for domain in dict.fromkeys(run.domain for run in planned):
        waiting = [run for run in planned if run.domain == domain and run.state in WAITING]
        tasks = len({run.spec.task for run in waiting})
        total = sum((run.hours for run in waiting if run.hours), Hours())
        partly = ", more unknown" if any(run.hours is None for run in waiting) else ""
        each, all_ = (f"{total / tasks}{partly}", f"{total}{partly}") if total.likely else ("", "")
        table.add_row(domain, str(tasks), str(len(waiting)), each, all_)
    return table


def print_other_code(done: Sequence[Run]) -> None:
    """Say which finished runs were made by other code than today's."""
    for what, count in Counter(filter(None, map(Run.other_code, done))).items():
        console.print(f"{count} finished runs were made by {what}; --anew makes them again", soft_wrap=True)


def print_data(waiting: Sequence[Run]) -> None:
    """Name the datasets that the runs lack, with their sizes."""
    for path, run in {run.data_path: run for run in waiting}.items():
        absent = run.missing_data()
        if path is None or not absent:
            continue
        sizes = [size for _, size in absent if size is not None]
        about = f"about {sum(sizes) / 1e9:.1f} GB" if sizes else "of unknown size"
        what = f"would be downloaded, {about}"
        if run.spec.data is not None:
            what = f"would be generated ({run.spec.data.transitions:,} transitions)"
        elif len(absent) > 1:
            what = f"{len(absent)} files {what}"
        console.print(f"data {path}: missing, {what}", soft_wrap=True)


def print_cost(waiting: list[RunInPlan], device: str, evaluated: set[str]) -> None:
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
        if any(run.hours and run.spec.online for run in waiting):
            console.print("online phases are not counted: their speed depends on the environment's")
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
