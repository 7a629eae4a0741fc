"""What runs will cost on this device: hours of training and evaluation, from rates that were measured."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agents.base import Agent
from benchmark.planning.configure import configure, describe
from benchmark.planning.registry import agent_class
from benchmark.runs.run import RunSpec
from benchmark.speed import episodes, rates
from benchmark.speed import updates as measuring
from envs.tasks import DOMAINS, Task, get_task

ESTIMATE_SECONDS = 4.0
ESTIMATE_TRANSITIONS = 20_000

NEARLY = 0.97
"""Share of the highest rate that counts as reaching it."""

Case = tuple[str, str, int]
"""Agent, domain, seeds that train together: what a rate depends on within a suite."""


@dataclass(frozen=True)
class Hours:
    """Hours, and between which bounds they are expected."""

    likely: float = 0.0
    low: float = 0.0
    high: float = 0.0

    def __add__(self, other: Hours) -> Hours:
        return Hours(self.likely + other.likely, self.low + other.low, self.high + other.high)

    def __mul__(self, share: float) -> Hours:
        return Hours(self.likely * share, self.low * share, self.high * share)

    def __truediv__(self, number: int) -> Hours:
        return Hours(self.likely / number, self.low / number, self.high / number)

    def __str__(self) -> str:
        digits = 0 if self.high >= 100 else 1 if self.high >= 1 else 3
        return f"{self.likely:,.{digits}f} ({self.low:,.{digits}f} to {self.high:,.{digits}f})"


def case_of(spec: RunSpec) -> Case:
    """The case of a run."""
    return spec.agent, get_task(spec.task).domain.name, len(spec.seeds)


def costs(
    runs: Iterable[tuple[RunSpec, int]],
    rows: Sequence[Mapping[str, Any]],
    evaluations: Sequence[Mapping[str, Any]] = (),
) -> list[Hours | None]:
    """Hours that each (run, step it has reached) still needs, its online phase not counted; None where no rate is
    known for its agent and sizes.

    `rows` as `throughput.read_rates` gives them, `evaluations` as `evaluation_speed.read_rows`: without a row for a
    domain its evaluation is not counted (see `evaluation_hours`).
    """
    known: dict[Case, tuple[tuple[float, float, float] | None, int, Hours | None]] = {}
    found: list[Hours | None] = []
    for spec, step in runs:
        if spec.protocol.steps == 0:
            found.append(Hours())
            continue
        case = case_of(spec)
        if case not in known:
            known[case] = _rate(spec, rows), _pretraining(spec), evaluation_hours(spec, evaluations)
        rate, pretraining, evaluation = known[case]
        if rate is None:
            found.append(None)
            continue
        left = max(0, spec.protocol.steps - step)  # a run in its online phase has none left
        updates = left + (0 if step else pretraining)
        training = Hours(*(updates / 3600 / rate[i] for i in (0, 2, 1)))
        found.append(training + evaluation * (left / spec.protocol.steps) if evaluation else training)
    return found


def evaluation_hours(spec: RunSpec, rows: Sequence[Mapping[str, Any]]) -> Hours | None:
    """Hours of all evaluations of a run; None where its domain was not measured.

    At most if every episode lasts to its limit; at least none, where all are solved soon or, on an accelerator, a
    device trains beside the evaluation. In between: half.
    """
    domain = get_task(spec.task).domain
    name = agent_class(spec.agent).name
    speed = episodes.steps_per_second(name, domain.name, len(spec.seeds), rows)
    if speed is None:
        return None
    protocol = spec.protocol
    hours = protocol.evaluations * protocol.eval_episodes * len(spec.seeds) * domain.episode_limit / speed / 3600
    return Hours(hours / 2, 0.0, hours)


def estimate(
    runs: Iterable[RunSpec], rows: Sequence[Mapping[str, Any]], say: Callable[[str], None]
) -> list[dict[str, Any]]:
    """Time compiled segments of every agent that has no rate, on random data of one of its domains' dimensions;
    toys and D4RL, whose sizes `throughput` does not know, left out.

    Returns new rows, which are not recorded. Compiling takes most of the time: minutes for 20 agents.
    """
    found: list[dict[str, Any]] = []
    for spec in runs:
        domain = get_task(spec.task).domain
        if domain.name not in DOMAINS or spec.protocol.steps == 0 or _rate(spec, [*rows, *found]):
            continue
        say(f"timing {spec.agent}, {len(spec.seeds)} seeds together, on random data as {domain.name}")
        plan = measuring.Measurement(
            agents={spec.agent: spec.settings},
            domain=domain,
            seeds=(len(spec.seeds),),
            size="paper",
            precision=spec.settings.get("matmul_precision", "default"),
            seconds=ESTIMATE_SECONDS,
            transitions=ESTIMATE_TRANSITIONS,
            compare=False,
            profile=None,
        )
        found += measuring.measure(plan, say)
    return found


def to_measure(specs: Iterable[RunSpec]) -> dict[str, list[str]]:
    """Agents to measure on each domain, so that a rate is known for the networks of all these runs; toys and D4RL,
    whose sizes `throughput` does not know, left out.
    """
    first: dict[tuple[str, str], str] = {}
    for spec in specs:
        domain = get_task(spec.task).domain
        if domain.name in DOMAINS:
            sizes = _sizes(describe(configure(agent_class(spec.agent), spec.settings)))
            first.setdefault((spec.agent, repr(sizes)), domain.name)
    found: dict[str, list[str]] = {}
    for (agent, _), domain_name in first.items():
        found.setdefault(domain_name, []).append(agent)
    return found


def _rate(spec: RunSpec, rows: Sequence[Mapping[str, Any]]) -> tuple[float, float, float] | None:
    """(rate, low, high) of updates per second, from rows of networks and batches of the run's sizes."""
    agent, domain, seeds = case_of(spec)
    cls = agent_class(agent)
    alike = [{**row, "size": "paper", "precision": "default"} for row in alike_rows(cls, spec.settings, rows)]
    return rates.updates_per_second(cls.name, domain, seeds, alike)


def alike_rows(
    cls: type[Agent], settings: Mapping[str, Any], rows: Iterable[Mapping[str, Any]]
) -> list[Mapping[str, Any]]:
    """Rows of an agent with networks and batches of the sizes that the settings ask for."""
    sizes = _sizes(describe(configure(cls, settings)))
    return [row for row in rows if row["agent"] == cls.name and _sizes(row["settings"]) == sizes]


def seeds_together(
    cls: type[Agent], settings: Mapping[str, Any], task: Task, seeds: int, rows: Sequence[Mapping[str, Any]]
) -> int:
    """How many of an agent's seeds should train together on the device of the rows.

    The fewest measured with which it makes nearly as many seed-updates per second as with any; what did not fit into
    the device's memory has an error in its row. Then as many groups as that takes, equally large. Where nothing was
    measured: all seeds.
    """
    known = alike_rows(cls, settings, rows)
    known = [row for row in known if row["domain"] == task.domain.name] or known
    rates: dict[int, float] = {}
    for row in known:
        if not row["error"] and row["seeds"] <= seeds:
            rates[row["seeds"]] = min(row["seed_updates_per_second"], rates.get(row["seeds"], float("inf")))
    if not rates:
        return seeds
    enough = NEARLY * max(rates.values())
    size = min(count for count, rate in rates.items() if rate >= enough)
    groups = -(-seeds // size)
    return -(-seeds // groups)


def _sizes(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that a rate depends on: whole numbers and choices, but for the chunk, which is part of a domain's
    dimensions, and lengths of phases.
    """
    other = {"chunk_length", "pretraining_steps", "critic_warmup", "decay_steps"}
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in settings.items()
        if not isinstance(value, float) and name not in other
    }


def _pretraining(spec: RunSpec) -> int:
    """Updates before the protocol's first."""
    cls = agent_class(spec.agent)
    if spec.start and spec.start.gives_all(cls.pretrains):
        return 0
    return cls(configure(cls, spec.settings), 1, 1).pretraining_steps
