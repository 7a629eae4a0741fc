"""How fast every algorithm trains here: `python -m benchmark.throughput --agents=rql,fql --seeds=1,4,12`.

For each agent and each number of seeds trained together, with the tuned settings of a domain on random data of its
dimensions: updates per second, the share of the device's arithmetic peak (of a large matrix product at the same
precision in the same process), memory, compile time, and the time to the first update, against the same algorithm
driven as public code does it (one jitted update per Python iteration, each batch drawn by numpy and copied).

Rows go to results/throughput/<device>.json, where a row replaces the older one of the same case. `read_rates` and
`updates_per_second` read them, e.g. to estimate what a suite costs. benchmark/speed/timing.py does the measuring.

With `--authors DIR ...`, checkouts of the authors' repositories, their own code is driven too, on this machine in this
call (benchmark/speed/authors.py says which agents, and what `--authors-python` must have). All loops of a case take
turns.

With `--profile=DIR` a trace of one short segment per case is written too: open https://ui.perfetto.dev and drop
DIR/<agent>-<seeds>/plugins/profile/<time>/perfetto_trace.json.gz there.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmark.common.errors import UserError, nearest, run_main
from benchmark.common.options import MOST_TRANSITIONS, Parser, folder, input_folder, names, output_file, whole_number
from benchmark.speed.rates import rates_path, write_rates
from benchmark.speed.throughput import MOST_SECONDS, Plan, measure, precisions, table
from envs.tasks import Domain, Task, get_domain


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
    from benchmark.common.errors import check_choice
    from benchmark.planning.configure import configure
    from benchmark.planning.memory import check_memory
    from benchmark.planning.registry import agent_class, agent_names
    from benchmark.runs.seeds import MOST_SEEDS

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
    from benchmark.speed.authors import MODULES, checkout_of

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
    from benchmark.planning.configure import configure, parse_settings
    from benchmark.planning.plan import settings_for
    from benchmark.planning.suites import SUITES

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

    from benchmark.common.files import make_folder

    if plan.profile:
        make_folder(plan.profile)
    path = options.json or rates_path()
    write_rates(path, [])  # so that a file that cannot be written or read is said before the work
    jax.config.update("jax_enable_compilation_cache", False)  # compile times are to be those of a first run
    rows = run(plan, path)
    return int(any(row["error"] or "error" in row.get("authors", ()) or "public_loop" in row for row in rows))


if __name__ == "__main__":
    run_main(main)
