"""Measuring updates per second, case by case, and the table of what was found."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
from rich.console import Console
from rich.table import Table

from benchmark.common.errors import printable
from benchmark.common.files import make_folder
from benchmark.common.terminal import progress_bar
from benchmark.loop.compiled import forget_programs_if_many
from benchmark.loop.device import device_name
from benchmark.planning.configure import configure, describe
from benchmark.planning.registry import agent_class
from benchmark.runs import provenance
from benchmark.speed.arithmetic import measure_peak
from benchmark.speed.authors import AuthorsLoop
from benchmark.speed.loops import (
    profile_segment,
    public_loop,
    segment_loop,
    segment_rates,
    synthetic_data,
)
from benchmark.speed.rates import rates_path, write_rates
from benchmark.speed.turns import take_turns
from envs.tasks import Domain, dimensions


@dataclasses.dataclass(frozen=True)
class Measurement:
    """What is to be measured."""

    agents: dict[str, Mapping[str, Any]]
    """Agents and the settings of each."""
    domain: Domain
    seeds: tuple[int, ...]
    size: str
    """Name of the settings, for the row."""
    precision: str
    seconds: float
    """Time for the repeats of each loop."""
    transitions: int
    compare: bool
    profile: Path | None
    authors: Mapping[str, Path] = dataclasses.field(default_factory=dict)
    """Checkouts of the authors' code, by agent, for those that have one."""
    authors_python: Path = Path(sys.executable)
    """What runs them."""

    @property
    def cases(self) -> int:
        """How many things are measured."""
        return 1 + len(self.agents) * len(self.seeds)


def measure(
    asked: Measurement, say: Callable[[str], None], on_case: Callable[[str], None] = lambda case: None
) -> Iterator[dict[str, Any]]:
    """Measure every case; yield a row each. One that fails has the reason in `error`, and the others go on.

    `on_case` is told each case before its work. Fields: those of KEY; settings, error; what
    `benchmark.speed.loops.segment_rates` returns; public_loop_updates_per_second, public_loop_spread (one seed; absent
    without the comparison) and speedup, seed-updates per second over the public loop's; authors
    (updates_per_second, spread, and the facts of `benchmark.speed.authors.begin`) and authors_speedup, where their code
    was asked for; provenance. Where another loop fails, `authors` or `public_loop` is {"error": why}; the row stands.
    """
    data = synthetic_data(*dimensions(asked.domain), asked.transitions)
    on_case("peak of matrix products")
    peak = measure_peak(asked.precision)
    made = provenance.collect({"name": f"random, as {asked.domain.name}", "transitions": data.size}, device_name())
    for name, settings in asked.agents.items():
        forget_programs_if_many()
        cls = agent_class(name)
        agent = cls(configure(cls, {**settings, "matmul_precision": asked.precision}), *dimensions(asked.domain))
        common = dict(device=made["device"], agent=cls.name, domain=asked.domain.name, size=asked.size)
        common |= dict(precision=asked.precision, settings=describe(agent.config), provenance=made)
        for seeds in asked.seeds:
            on_case(f"{cls.name}, {seeds} seed{'s' * (seeds > 1)}")
            with contextlib.ExitStack() as stack:
                others = _others(asked, agent, data, stack, say)
                found = attempt(lambda: _rates(agent, data, seeds, peak, asked.seconds, others), say)
            yield {"error": None, **common, "seeds": seeds, **found}
            if asked.profile and "error" not in found:
                folder = asked.profile / f"{cls.name}-{seeds}"
                attempt(lambda: profile_segment(agent, data, seeds, folder), say)


def _others(asked: Measurement, agent: Any, data: Any, stack: contextlib.ExitStack, say: Callable[[str], None]) -> dict:
    """What the harness is compared with, of what was asked for: loops, or {"error": ...}, by name."""
    others: dict[str, Any] = {}
    if asked.compare:
        others["public_loop"] = attempt(lambda: public_loop(agent, data), say)
    if checkout := asked.authors.get(agent.name):
        sizes = (*dimensions(asked.domain), asked.transitions)
        program = (asked.authors_python, checkout, agent.name, describe(agent.config), sizes)
        others["authors"] = attempt(lambda: stack.enter_context(AuthorsLoop(*program)), say)
    return others


def _rates(agent: Any, data: Any, seeds: int, peak: float, seconds: float, others: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of a row on the rates of the segments and, taking turns with them, of the other loops."""
    segments, facts = segment_loop(agent, data, seeds, peak)
    started = {name: loop for name, loop in others.items() if not isinstance(loop, dict)}
    mine, *theirs = take_turns([segments.repeat, *(loop.repeat for loop in started.values())], seconds)
    row = segment_rates(facts, mine, seeds)
    spreads = dict(zip(started, theirs, strict=True))
    if "public_loop" in spreads:
        spread = spreads["public_loop"]
        row |= {"public_loop_updates_per_second": spread.median, "public_loop_spread": dataclasses.asdict(spread)}
        row["speedup"] = row["seed_updates_per_second"] / spread.median
    if "authors" in spreads:
        spread = spreads["authors"]
        row["authors"] = {"updates_per_second": spread.median, "spread": dataclasses.asdict(spread)}
        row["authors"] |= started["authors"].facts
        row["authors_speedup"] = row["seed_updates_per_second"] / spread.median
    failed = {name: loop for name, loop in others.items() if name not in started}
    return row | failed


def attempt(work: Callable[[], Any], say: Callable[[str], None]) -> Any:
    """What `work` returns, or {"error": the first line of why it failed}."""
    try:
        return work()
    except Exception as error:  # whatever an algorithm, its compilation or the device's memory may meet
        lines = str(error).splitlines() or [""]
        reason = f"{type(error).__name__}: {printable(lines[0])}"
        say(f"failed: {reason}")
        return {"error": reason}


def measure_and_write(asked: Measurement, path: Path | None) -> int:
    """Measure, merging the rows into a file (default: this device's). Returns 1 where a case failed, else 0."""
    if asked.authors:  # two processes are on the device: neither may take most of its memory at the start
        os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    if asked.profile:
        make_folder(asked.profile)
    path = path or rates_path()
    write_rates(path, [])  # so that a file that cannot be written or read is said before the work
    jax.config.update("jax_enable_compilation_cache", False)  # compile times are to be those of a first run
    rows = run(asked, path)
    return int(any(row["error"] or "error" in row.get("authors", ()) or "public_loop" in row for row in rows))


def run(asked: Measurement, path: Path) -> list[dict[str, Any]]:
    """Measure with a bar (lines where there is no terminal), writing each row as it comes; print the table."""
    terminal = sys.stdout.isatty()
    console = Console(highlight=False, markup=False, width=None if terminal else 200)
    total = asked.cases
    rows = []
    with progress_bar(console) as bar:
        task = bar.add_task("starting", total=total)
        cases = itertools.count()

        def on_case(case: str) -> None:
            done = next(cases)
            bar.update(task, description=case, completed=done)
            if not terminal:
                console.print(f"[{done + 1}/{total}] {case}")

        for row in measure(asked, console.print, on_case):
            rows.append(row)
            write_rates(path, [row])  # at once, so that an interrupted measurement keeps what it has
        bar.update(task, description="done", completed=total)
    console.print(table(rows))
    console.print(f"written to {path}")
    return rows


# --------------------------------------------------------------------------------------------------- the table


def table(rows: Sequence[Mapping[str, Any]]):
    """Rows as a table for a terminal."""
    shown = Table(title="Updates per second: median of the repeats (least to most)")
    beside = any("authors" in row for row in rows)
    headings = ["agent", "seeds", "updates/s", "seed-updates/s", "public loop", "over it"]
    headings += ["authors' code", "over it"] * beside
    for heading in (*headings, "GFLOP", "of peak", "memory MiB", "compile s", "first update s"):
        shown.add_column(heading, justify="left" if heading == "agent" else "right")
    for row in rows:
        if row["error"]:
            shown.add_row(row["agent"], str(row["seeds"]), row["error"])
            continue
        spread = row["spread"]
        shown.add_row(
            row["agent"],
            str(row["seeds"]),
            f"{spread['median']:.4g} ({spread['minimum']:.4g} to {spread['maximum']:.4g})",
            _text(row["seed_updates_per_second"], ".4g"),
            _text(row.get("public_loop_updates_per_second"), ".4g"),
            _text(row.get("speedup"), ".2f"),
            *_authors(row, beside),
            _text(row["flop_per_update"], ".3g", 1e-9),
            _text(row["peak_share"], ".1%"),
            _text(row["memory_bytes"], ".0f", 2**-20),
            _text(row["compile_seconds"], ".1f"),
            _text(row["first_update_seconds"], ".1f"),
        )
    return shown


def _authors(row: Mapping[str, Any], beside: bool) -> list[str]:
    """The columns on the authors' code, where the table has them."""
    if not beside:
        return []
    return [_text(row.get("authors", {}).get("updates_per_second"), ".4g"), _text(row.get("authors_speedup"), ".2f")]


def _text(value: float | None, form: str, unit: float = 1) -> str:
    return "" if value is None else format(value * unit, form)
