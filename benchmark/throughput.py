"""How fast every algorithm trains here: `python -m benchmark.throughput --agents=rql,fql --seeds=1,4,12`.

For each agent and each number of seeds trained together, with the tuned settings of a domain on random data of its
dimensions: updates per second, the share of the device's arithmetic peak (of a large matrix product at the same
precision in the same process), memory, compile time, and the time to the first update, against the same algorithm
driven as public code does it (one jitted update per Python iteration, each batch drawn by numpy and copied).

Rows go to results/throughput/<device>.json, where a row replaces the older one of the same case. `read_rates` and
`updates_per_second` read them, e.g. to estimate what a suite costs. benchmark/timing.py does the measuring.

With `--authors DIR ...`, checkouts of the authors' repositories, their own code is driven too, on this machine in this
call (benchmark/authors.py says which agents, and what `--authors-python` must have). All loops of a case take turns.

With `--profile=DIR` a trace of one short segment per case is written too: open https://ui.perfetto.dev and drop
DIR/<agent>-<seeds>/plugins/profile/<time>/perfetto_trace.json.gz there.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import itertools
import json
import math
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmark.errors import UserError, nearest, printable, run_main
from benchmark.options import MOST_TRANSITIONS, Parser, folder, input_folder, names, output_file, whole_number
from envs.tasks import Domain, Task, get_domain

FOLDER = Path(__file__).resolve().parent.parent / "results" / "throughput"
KEY = ("device", "agent", "domain", "size", "precision", "seeds")
"""What identifies a case; the rest of a row is what was measured."""
MOST_SECONDS = 86_400
OTHER_DOMAIN = 0.1  # share by which a rate may differ between domains: under 4% of the arithmetic, and the samplers

# Sizes of observations and actions in OGBench 1.2 (its environments' spaces).
DIMENSIONS = {
    "antmaze-large": (29, 8),
    "antmaze-giant": (29, 8),
    "humanoidmaze-medium": (69, 21),
    "humanoidmaze-large": (69, 21),
    "cube-single": (28, 5),
    "cube-double": (37, 5),
    "cube-triple": (46, 5),
    "cube-quadruple": (55, 5),
    "scene": (40, 5),
    "puzzle-3x3": (55, 5),
    "puzzle-4x4": (83, 5),
}


def dimensions(domain: Domain) -> tuple[int, int]:
    """(O, d) of a domain, one of `envs.tasks.DOMAINS`."""
    return DIMENSIONS[domain.name.rsplit("-", 1)[0]]


def precisions() -> tuple[str, ...]:
    """Precisions of matrix products that an agent may have."""
    from agents.base import Config

    return Config.__dataclass_fields__["matmul_precision"].metadata["choices"]


# ---------------------------------------------------------------------------------------------- recorded rates


def device_name() -> str:
    """This machine's device, as provenance and rows name it."""
    import jax

    from benchmark.provenance import processor

    device = jax.devices()[0]
    return f"{device.platform}: {processor() if device.platform == 'cpu' else device.device_kind}"


def rates_path(device: str | None = None) -> Path:
    """File of a device's rates; of this machine's device by default."""
    slug = re.sub(r"[^a-z0-9]+", "-", (device or device_name()).lower()).strip("-")
    return FOLDER / f"{slug}.json"


def read_rates(path: Path | None = None) -> list[dict[str, Any]]:
    """Rows recorded in a file (this device's by default), [] where there is none. See `measure` for their fields."""
    return read_rows(path or rates_path(), _is_rate)


def read_rows(path: Path, is_row: Callable[[Mapping[str, Any]], bool]) -> list[dict[str, Any]]:
    """Rows of a file of measurements, [] where there is none. Raises a UserError where one is not as it was written."""
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))["rows"]
        if all(is_row(row) for row in rows):
            return list(rows)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        pass
    raise UserError(f"{path} does not hold measurements as they were written; measure again into another file")


def has(row: Mapping[str, Any], **kinds: Any) -> bool:
    """Whether a row has fields of these types, and numbers that are positive and finite."""
    values = [(row[name], kind) for name, kind in kinds.items()]
    return all(isinstance(v, kind) and (not isinstance(v, int | float) or 0 < v < math.inf) for v, kind in values)


def _is_rate(row: Mapping[str, Any]) -> bool:
    number = int | float
    texts = dict.fromkeys(("device", "agent", "domain", "size", "precision"), str)
    measured = row["error"] is not None or (
        has(row, seed_updates_per_second=number, spread=dict)
        and has(row["spread"], minimum=number, median=number, maximum=number)
    )
    return measured and has(row, **texts, seeds=int, settings=dict)


def write_rates(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Merge rows into a file; a new row replaces the old one of its case."""
    from benchmark.records import make_folder, write_json

    make_folder(path.parent)
    merged = {tuple(row[name] for name in KEY): row for row in [*(read_rates(path)), *rows]}
    write_json(path, {"schema": 1, "rows": [merged[key] for key in sorted(merged)]})


def updates_per_second(
    agent: str,
    domain: str,
    seeds: int,
    rows: Sequence[Mapping[str, Any]] | None = None,
    size: str = "paper",
    precision: str = "default",
) -> tuple[float, float, float] | None:
    """(rate, low, high): updates per second when `seeds` seeds train together; None where nothing is known.

    `rows` are `read_rates()` by default. Between two measured numbers of seeds the time per update is interpolated
    linearly. Outside of them the rate is the careful one: with fewer seeds an update takes as long as with the fewest
    measured (high: time in proportion to seeds); with more, time grows in proportion (high: not at all). Where the
    agent was not measured on the domain, the one with the most similar inputs stands in, and low and high are a tenth
    further apart. `low` and `high` include the spread of the measured repeats.
    """
    known = [
        row
        for row in (read_rates() if rows is None else rows)
        if (row["agent"], row["size"], row["precision"]) == (agent, size, precision) and not row["error"]
    ]
    if not known:
        return None
    wanted = _inputs(domain)
    stand_in = min((row["domain"] for row in known), key=lambda name: (name != domain, abs(_inputs(name) - wanted)))
    if stand_in != domain and not wanted:
        return None
    points = {row["seeds"]: row["spread"] for row in known if row["domain"] == stand_in}
    slack = 0.0 if stand_in == domain else OTHER_DOMAIN
    rate, low, high = (_at(points, seeds, which) for which in ("median", "minimum", "maximum"))
    fewest, most = min(points), max(points)
    if seeds < fewest:
        high *= fewest / seeds
    elif seeds > most:
        high *= seeds / most
    return rate, low * (1 - slack), high * (1 + slack)


def _inputs(domain: str) -> int:
    """Size of a domain's observations and actions together, 0 where it is not known."""
    return sum(DIMENSIONS.get(domain.rsplit("-", 1)[0], ()))


def _at(points: Mapping[int, Mapping[str, float]], seeds: int, which: str) -> float:
    """The rate for a number of seeds, from those measured."""
    fewest, most = min(points), max(points)
    if seeds <= fewest:
        return points[fewest][which]
    if seeds >= most:
        return points[most][which] * most / seeds
    below, above = max(n for n in points if n <= seeds), min(n for n in points if n >= seeds)
    share = (seeds - below) / (above - below) if above > below else 0.0
    return 1 / ((1 - share) / points[below][which] + share / points[above][which])


# ---------------------------------------------------------------------------------------------------- measuring


@dataclasses.dataclass(frozen=True)
class Plan:
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
    plan: Plan, say: Callable[[str], None], on_case: Callable[[str], None] = lambda case: None
) -> Iterator[dict[str, Any]]:
    """Measure every case; yield a row each. One that fails has the reason in `error`, and the others go on.

    `on_case` is told each case before its work. Fields: those of KEY; settings, error; what
    `benchmark.timing.segment_rates` returns; public_loop_updates_per_second, public_loop_spread (one seed; absent
    without the comparison) and speedup, seed-updates per second over the public loop's; authors
    (updates_per_second, spread, and the facts of `benchmark.authors.begin`) and authors_speedup, where their code was
    asked for; provenance. Where another loop fails, `authors` or `public_loop` is {"error": why}, and the row stands.
    """
    from benchmark import provenance
    from benchmark.configure import agent_class, configure, describe
    from benchmark.timing import measure_peak, profile_segment, synthetic_data

    data = synthetic_data(*dimensions(plan.domain), plan.transitions)
    on_case("peak of matrix products")
    peak = measure_peak(plan.precision)
    made = provenance.collect({"name": f"random, as {plan.domain.name}", "transitions": data.size})
    for name, settings in plan.agents.items():
        cls = agent_class(name)
        agent = cls(configure(cls, {**settings, "matmul_precision": plan.precision}), *dimensions(plan.domain))
        common = dict(device=made["device"], agent=cls.name, domain=plan.domain.name, size=plan.size)
        common |= dict(precision=plan.precision, settings=describe(agent.config), provenance=made)
        for seeds in plan.seeds:
            on_case(f"{cls.name}, {seeds} seed{'s' * (seeds > 1)}")
            with contextlib.ExitStack() as stack:
                others = _others(plan, agent, data, stack, say)
                found = attempt(lambda: _rates(agent, data, seeds, peak, plan.seconds, others), say)
            yield {"error": None, **common, "seeds": seeds, **found}
            if plan.profile and "error" not in found:
                folder = plan.profile / f"{cls.name}-{seeds}"
                attempt(lambda: profile_segment(agent, data, seeds, folder), say)


def _others(plan: Plan, agent: Any, data: Any, stack: contextlib.ExitStack, say: Callable[[str], None]) -> dict:
    """What the harness is compared with, of what was asked for: loops, or {"error": ...}, by name."""
    from benchmark.authors import AuthorsLoop
    from benchmark.configure import describe
    from benchmark.timing import public_loop

    others: dict[str, Any] = {}
    if plan.compare:
        others["public_loop"] = attempt(lambda: public_loop(agent, data), say)
    if checkout := plan.authors.get(agent.name):
        sizes = (*dimensions(plan.domain), plan.transitions)
        asked = (plan.authors_python, checkout, agent.name, describe(agent.config), sizes)
        others["authors"] = attempt(lambda: stack.enter_context(AuthorsLoop(*asked)), say)
    return others


def _rates(agent: Any, data: Any, seeds: int, peak: float, seconds: float, others: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of a row on the rates of the segments and, taking turns with them, of the other loops."""
    from benchmark.repeats import take_turns
    from benchmark.timing import segment_loop, segment_rates

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


# --------------------------------------------------------------------------------------------------- the table


def table(rows: Sequence[Mapping[str, Any]]):
    """Rows as a table for a terminal."""
    from rich.table import Table

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


# ---------------------------------------------------------------------------------------------- the command line


def parser() -> Parser:
    """The command line's options."""
    assert __doc__ is not None
    parser = Parser(
        prog="python -m benchmark.throughput",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--agents", default="rql,fql", help="names or files, separated by commas, or all")
    parser.add_argument("--seeds", default="1,4,12", help="numbers of seeds trained together (default: 1,4,12)")
    parser.add_argument("--domain", default="cube-double-play", help="whose settings and sizes (cube-double-play)")
    parser.add_argument(
        "--size",
        nargs="+",
        default=["paper"],
        metavar="WORD",
        help="paper (default), quickstart, and settings such as hidden=64,64, which agents without them ignore",
    )
    parser.add_argument("--precision", default="default", help=f"of matrix products: {', '.join(precisions())}")
    parser.add_argument("--seconds", default="5", help="time for the repeats of each loop (default: 5)")
    parser.add_argument("--transitions", default="100_000", help="size of the random data (default: 100,000)")
    parser.add_argument(
        "--json", type=Path, help="file to merge the rows into (default: results/throughput/DEVICE.json)"
    )
    parser.add_argument("--compare-public-loop", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument(
        "--authors", type=Path, nargs="+", default=[], metavar="DIR", help="checkouts of the authors' code to drive too"
    )
    parser.add_argument(
        "--authors-python",
        type=Path,
        default=Path(sys.executable),
        metavar="FILE",
        help="a Python with what their code needs: jax, flax, optax, distrax, ml_collections (default: this one)",
    )
    parser.add_argument("--profile", type=Path, metavar="DIR", help="also write traces for ui.perfetto.dev")
    return parser


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line, as text; `plan_from` checks it."""
    return parser().parse_args(arguments)


def plan_from(options: argparse.Namespace) -> Plan:
    """Check what was asked. Raises a UserError before any work."""
    from benchmark.configure import MOST_SEEDS, agent_class, agent_names, check_memory, configure
    from benchmark.errors import check_choice

    domain = get_domain(options.domain)
    asked = agent_names() if options.agents == "all" else names("--agents", options.agents)
    classes = {name: agent_class(name) for name in asked}
    seeds = tuple(whole_number("--seeds", text, high=MOST_SEEDS) for text in names("--seeds", options.seeds))
    try:
        seconds = float(options.seconds)
    except ValueError:
        seconds = -1.0
    if not 0 < seconds <= MOST_SECONDS:
        bound = f" of at most {MOST_SECONDS:,}" if seconds > MOST_SECONDS else ""
        raise UserError(f"--seconds must be a positive number{bound}, not '{options.seconds}'")
    settings = size_settings(classes, domain, options.size)
    for name, cls in classes.items():
        check_memory(cls.name, configure(cls, settings[name]), max(seeds))
    for what, checked in (("--json", output_file), ("--profile", folder)):
        if value := getattr(options, what[2:]):
            checked(what, value)
    return Plan(
        agents=settings,
        domain=domain,
        seeds=seeds,
        size=" ".join(options.size),
        precision=check_choice("precision", options.precision, precisions()),
        seconds=seconds,
        transitions=whole_number("--transitions", options.transitions, 1000, MOST_TRANSITIONS),
        compare=options.compare_public_loop,
        profile=options.profile,
        authors=_checkouts([cls.name for cls in classes.values()], options.authors),
        authors_python=_program(options.authors_python),
    )


def _checkouts(agents: Sequence[str], folders: Sequence[Path]) -> dict[str, Path]:
    """Where the authors' code of each agent is, of those that the folders have. Raises a UserError where none is."""
    from benchmark.authors import MODULES, checkout_of

    for place in folders:
        if not (input_folder("--authors", place) / "agents").is_dir():
            raise UserError(f"--authors: {place} is not a checkout of the authors' code: it has no folder 'agents'")
    found = {agent: checkout_of(agent, folders) for agent in agents}
    if folders and not any(found.values()):
        where, known = ", ".join(map(str, folders)), ", ".join(MODULES)
        raise UserError(f"--authors: no code of {', '.join(agents)} in {where}; known are {known}")
    return {agent: folder.absolute() for agent, folder in found.items() if folder}


def _program(path: Path) -> Path:
    """A Python to run, absolute. Raises a UserError where there is none."""
    found = shutil.which(path)
    if found is None:
        raise UserError(f"--authors-python: {path} is not a program that can be run")
    return Path(found).absolute()


def size_settings(classes: Mapping[str, Any], domain: Domain, words: Sequence[str]) -> dict[str, Mapping[str, Any]]:
    """Settings of each agent: the domain's tuned ones, then what the words of --size say."""
    from benchmark.configure import configure, parse_settings
    from benchmark.plan import settings_for
    from benchmark.suites import SUITES

    named = {"paper": {}, "quickstart": SUITES["quickstart"].settings}
    own = parse_settings([word for word in words if "=" in word])
    layers: dict[str, Any] = {}
    for word in (word for word in words if "=" not in word):
        if word not in named:
            raise UserError(f"unknown size '{word}'{nearest(word, named)}; allowed: paper, quickstart, NAME=VALUE")
        layers |= named[word]
    fields = {name: [field.name for field in dataclasses.fields(cls.Config)] for name, cls in classes.items()}
    for setting in own:
        if not any(setting in known for known in fields.values()):
            allowed = sorted({name for known in fields.values() for name in known})
            raise UserError(f"none of these agents has a hyperparameter '{setting}'{nearest(setting, allowed)}")
    settings: dict[str, Mapping[str, Any]] = {}
    for name, cls in classes.items():
        chosen = {key: value for key, value in (layers | own).items() if key in fields[name]}
        settings[name] = settings_for(cls, Task(domain, 1), chosen)
        configure(cls, settings[name])
    return settings


def run(plan: Plan, path: Path) -> list[dict[str, Any]]:
    """Measure with a bar (lines where there is no terminal), writing each row as it comes; print the table."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    terminal = sys.stdout.isatty()
    console = Console(highlight=False, markup=False, width=None if terminal else 200)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    total = plan.cases
    rows = []
    with Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=console, disable=not terminal) as bar:
        task = bar.add_task("starting", total=total)
        cases = itertools.count()

        def on_case(case: str) -> None:
            done = next(cases)
            bar.update(task, description=case, completed=done)
            if not terminal:
                console.print(f"[{done + 1}/{total}] {case}")

        for row in measure(plan, console.print, on_case):
            rows.append(row)
            write_rates(path, [row])  # at once, so that an interrupted measurement keeps what it has
        bar.update(task, description="done", completed=total)
    console.print(table(rows))
    console.print(f"written to {path}")
    return rows


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line. Returns 1 where a case failed, else 0."""
    options = parse(arguments)
    plan = plan_from(options)
    if plan.authors:  # two processes are on the device: neither may take most of its memory at the start
        os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")

    import jax

    from benchmark.records import make_folder

    if plan.profile:
        make_folder(plan.profile)
    path = options.json or rates_path()
    write_rates(path, [])  # so that a file that cannot be written or read is said before the work
    jax.config.update("jax_enable_compilation_cache", False)  # compile times are to be those of a first run
    rows = run(plan, path)
    return int(any(row["error"] or "error" in row.get("authors", ()) or "public_loop" in row for row in rows))


if __name__ == "__main__":
    run_main(main)
