"""A whole experiment from start to end, wall time of the complete command: ours, and the authors' on the same data."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from rich.table import Table as PrintedTable

from benchmark.checking.same_experiment import experiment_of, train_together
from benchmark.common.errors import UserError
from benchmark.common.files import make_folder, write_json
from benchmark.common.machine import ROOT, git_state, now, processor
from benchmark.common.terminal import console, progress_bar
from benchmark.planning.plan import plan
from benchmark.planning.run import Run
from benchmark.planning.suites import Suite
from benchmark.runs.protocol import Protocol
from benchmark.runs.run import RunSpec
from benchmark.runs.seeds import format_seeds
from benchmark.runs.table import Table


@dataclass(frozen=True)
class Way:
    """One way of making the experiment, and what it took."""

    whose: str
    """"ours" or "authors"."""
    at_once: int
    """Processes side by side."""
    seconds: float
    """Of the complete command."""
    success: float
    """Mean over seeds at the end of training, in [0, 1]."""


def compare(
    suite: Suite,
    agent: str,
    seeds: Sequence[int],
    protocol: Protocol,
    at_once: Sequence[int],
    checkouts: Sequence[Path],
    python: Path,
    out: Path,
) -> list[Way]:
    """Make the suite's first task with the agent in every way; print the table, write it to out/end_to_end.json.

    Ours comes first for each number of processes, then the authors'. Data are made before the first. Raises a
    UserError where a command fails.
    """
    make_folder(out)
    task, named = suite.tasks[0], format_seeds(seeds)
    ways: list[Way] = []
    first: list[RunSpec] = []
    for count in at_once:
        words: dict[str, Any] = dict(agents=[agent], tasks=[task], seeds=seeds, protocol=protocol)
        words |= dict(out=str(out / f"ours-{count}"), seeds_per_process=-(-len(seeds) // count))
        runs = plan(suite, **words)
        Run(runs[0]).ensure_data()
        ways.append(_way("ours", count, protocol, partial(_ours, runs, count)))
        first = first or runs  # of which theirs are the same experiment
        theirs = partial(made_by_authors, first, checkouts, python, out / f"authors-{count}", count)
        ways.append(_way("authors", count, protocol, theirs))
        report: dict[str, Any] = {"time": now(), "commit": git_state()[0], "processor": processor()}
        report |= {"suite": suite.name, "task": task.name, "agent": agent, "seeds": named}
        write_json(out / "end_to_end.json", {**report, "protocol": asdict(protocol), "ways": list(map(asdict, ways))})
    print_table(ways, f"{agent} on {task.name}, seeds {named}")
    return ways


def _way(whose: str, count: int, protocol: Protocol, work: Callable[[], Sequence[Path]]) -> Way:
    """Have the experiment made, and say what it took; `work` returns the folders of the runs."""
    started = time.perf_counter()
    places = work()
    return Way(whose, count, time.perf_counter() - started, _success(places, protocol))


def _ours(runs: Sequence[RunSpec], count: int) -> list[Path]:
    """Our complete command, begun with an empty cache of programs; the runs' folders."""
    first, seeds = runs[0], sorted(seed for run in runs for seed in run.seeds)
    words = [f"--suite={first.suite}", f"--agents={first.agent}", f"--tasks={first.task}", f"--out={first.out}"]
    words += [f"--seeds={','.join(map(str, seeds))}", f"--seeds-per-process={len(first.seeds)}", f"--jobs={count}"]
    words += [f"--steps={first.protocol.steps}", f"--eval-episodes={first.protocol.eval_episodes}"]
    words += [f"--generate={first.data.transitions}"] if first.data else []
    environment = {**os.environ, "RQL_CACHE_DIR": str(Path(first.out).absolute() / "cache")}
    code = subprocess.call([sys.executable, str(ROOT / "run_all.py"), *words], env=environment)
    if code:
        raise UserError(f"our command ended with code {code}: run_all.py {' '.join(words)}")
    return [run.path for run in runs]


def made_by_authors(
    runs: Sequence[RunSpec], checkouts: Sequence[Path], python: Path, out: Path, count: int
) -> list[Path]:
    """Their main.py for each seed of these runs of ours, `count` processes at once; the folders with its results."""
    experiments = [experiment_of(run.path, checkouts) for run in runs]
    with progress_bar(console) as progress:
        bar = progress.add_task(f"{experiments[0].label}: evaluations", total=None)
        return train_together(
            *(experiments, python, out, count),
            lambda done, total: progress.update(bar, completed=done, total=total),
        )


def _success(places: Sequence[Path], protocol: Protocol) -> float:
    """Mean success over the seeds of all runs at the last evaluation."""
    rows = [row for place in places for row in Table(place / "eval.csv").rows if row["step"] == protocol.steps]
    return sum(row["success"] for row in rows) / len(rows)


def print_table(ways: Sequence[Way], title: str) -> None:
    """Print seconds, their ratio at the same number of processes, and success."""
    table = PrintedTable(
        "processes at once", "ours, s", "authors, s", "times faster", "success ours / authors", title=title
    )
    for ours, theirs in zip(ways[::2], ways[1::2], strict=True):
        times = f"{theirs.seconds / ours.seconds:.2f}"
        success = f"{ours.success:.2f} / {theirs.success:.2f}"
        table.add_row(str(ours.at_once), f"{ours.seconds:.0f}", f"{theirs.seconds:.0f}", times, success)
    console.print(table)
    fastest = [
        min((way for way in ways if way.whose == whose), key=lambda way: way.seconds) for whose in ("ours", "authors")
    ]
    console.print(f"the fastest of each: {fastest[1].seconds / fastest[0].seconds:.2f} times")
