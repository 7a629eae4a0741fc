"""What is to be measured on a GPU, in blocks of minutes: each is a command of its own that leaves rows, and one whose
rows are there is not run again. The most telling come first, so that little time on a device says most.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmark.common.errors import UserError
from benchmark.common.files import make_folder, write_text
from benchmark.common.machine import ROOT
from benchmark.common.reading import read_json
from benchmark.common.terminal import console
from benchmark.runs.table import Table
from benchmark.speed import episodes, rates
from benchmark.speed.rates import read_rates

FEW, MANY = 1, 12
"""Seeds that train together: as the authors' code does it, and as the paper has them."""
MORE = (4, 24, 48)
"""Further numbers of seeds, which show where more no longer pay."""
PRECISIONS = ("float32", "tensorfloat32", "bfloat16")
GRAPHS = {"graphs-off": "--xla_gpu_enable_command_buffer=", "graphs-of-one": "--xla_gpu_graph_min_graph_size=1"}
"""XLA's flags for its command buffers beside the default, by the ending of the file of rows."""
GOALS = {("rql", MANY): 10.0, ("rql", FEW): 3.0, ("fql", MANY): 10.0, ("fql", FEW): 3.0}
"""Times the authors' seed-updates per second that are aimed at."""
PEAK_GOAL = 0.4
"""Share of the device's peak that is aimed at, of RQL with `MANY` seeds."""
TINY = ("hidden=16,16", "ensemble=2", "batch_size=16", "flow_steps=2")
"""Sizes at which the blocks are tried without a GPU."""


@dataclass(frozen=True)
class Place:
    """Where rows are, and how large what is measured is."""

    device: str
    out: Path
    authors: Sequence[Path] = ()
    authors_python: Path = Path(sys.executable)
    tiny: bool = False

    def rates(self, ending: str = "") -> Path:
        """The file of rates, or that of other flags."""
        path = self.out / rates.rates_path(self.device).name
        return path.with_name(f"{path.stem}-{ending}.json") if ending else path

    @property
    def runs(self) -> Path:
        """The folder of runs."""
        return self.out / f"{self.rates().stem}-runs"

    @property
    def size(self) -> tuple[str, ...]:
        """As `benchmark.throughput --size` has it."""
        return TINY if self.tiny else ("paper",)


@dataclass(frozen=True)
class Block:
    """A command that leaves rows."""

    name: str
    command: Sequence[str]
    """After the Python that runs it."""
    there: Callable[[], bool]
    """Whether its rows are."""
    environment: dict[str, str] = field(default_factory=dict)


def blocks(place: Place) -> Iterator[Block]:
    """All blocks, the most telling first."""
    for agent in ("rql", "fql"):
        for seeds in (FEW, MANY):
            yield rate_block(place, agent, [seeds], beside=True)
    yield rate_block(place, "rql", MORE)
    yield evaluation_block(place)
    yield run_block(place, "evaluation beside training", "default", f"0-{MANY - 1}")
    for agent in ("qam", "ifql", "dac"):
        yield rate_block(place, agent, [FEW, MANY], beside=True)
    for precision in PRECISIONS:
        yield rate_block(place, "rql", [MANY], precision=precision)
        yield run_block(place, f"returns at {precision}", precision, "0-3")
    for ending in GRAPHS:
        yield rate_block(place, "rql", [FEW, MANY], ending=ending)


def rate_block(
    place: Place, agent: str, seeds: Sequence[int], precision: str = "default", ending: str = "", beside: bool = False
) -> Block:
    """Updates per second of an agent; `beside` the authors' code, where that is there."""
    path, size = place.rates(ending), " ".join(place.size)
    command = ["-m", "benchmark.throughput", f"--agents={agent}", f"--seeds={','.join(map(str, seeds))}"]
    command += [f"--precision={precision}", f"--json={path}", "--size", *place.size]
    if place.tiny:
        command += ["--seconds=0.2", "--transitions=2000"]
    if beside and place.authors:
        command += [f"--authors-python={place.authors_python}", "--authors", *map(str, place.authors)]
    if not beside:
        command += ["--no-compare-public-loop"]

    def there() -> bool:
        wanted = {(agent, count, precision, size) for count in seeds}
        return wanted <= {(row["agent"], row["seeds"], row["precision"], row["size"]) for row in read_rates(path)}

    words = [agent, f"{' and '.join(map(str, seeds))} seeds", precision * (precision != "default"), ending]
    flags = " ".join(filter(None, [os.environ.get("XLA_FLAGS"), GRAPHS.get(ending)]))
    return Block(", ".join(filter(None, words)), command, there, {"XLA_FLAGS": flags} if flags and ending else {})


def evaluation_block(place: Place) -> Block:
    """Environment steps per second of evaluations."""
    path = episodes.evaluation_path(place.rates())
    domain, counts = ("cube-single-play", (1,)) if place.tiny else ("scene-play", (FEW, MANY))
    command = ["-m", "benchmark.evaluation_speed", f"--domains={domain}", f"--seeds={','.join(map(str, counts))}"]
    command += [f"--json={path}", *(["--episodes=1", "--seconds=1"] if place.tiny else [])]

    def there() -> bool:
        return set(counts) <= {row["seeds"] for row in episodes.read_rows(path) if row["domain"] == domain}

    return Block("evaluation", command, there)


def run_block(place: Place, name: str, precision: str, seeds: str) -> Block:
    """A whole run of the quickstart, of which its record says how long it trained and evaluated."""
    out = place.runs / precision
    suite, agent = ("toy", "bc") if place.tiny else ("quickstart", "rql")
    command = ["run_all.py", f"--suite={suite}", f"--agents={agent}", f"--seeds={seeds}", f"--out={out}"]
    command += [] if precision == "default" else [f"--set=matmul_precision={precision}"]
    if place.tiny:
        command += ["--tasks=toy-modes", "--steps=40", "--eval-episodes=1", "--set=hidden=8"]

    def there() -> bool:
        found = [read_json(path, {}) or {} for path in out.glob("*/*/*/status.json")]
        return any(status.get("state") == "done" for status in found)

    return Block(name, command, there)


# --------------------------------------------------------------------------------------------------- running them


def run_blocks(place: Place, seconds: float, most: int | None) -> int:
    """Run the blocks whose rows are not there, at most so many, each for at most so long; then print and write the
    summary. Returns 1 where one left no rows, else 0.
    """
    make_folder(place.out)
    failed, done = [], 0
    for block in blocks(place):
        if block.there():
            console.print(f"there already: {block.name}", markup=False)
        elif most is None or done < most:
            done += 1
            console.rule(block.name)
            reason = run_block_for(block, seconds)
            if reason:
                failed.append(block.name)
                console.print(f"no rows of {block.name}: {reason}", markup=False, soft_wrap=True)
    text = summary(place)
    path = place.rates().with_suffix(".md")
    write_text(path, text)
    console.print(f"{text}written to {path}", markup=False, soft_wrap=True)
    return int(bool(failed))


def run_block_for(block: Block, seconds: float) -> str:
    """Run a block, killed with all that it started where it takes longer; returns why its rows are not there, or ""."""
    process = subprocess.Popen(
        [sys.executable, *block.command], cwd=ROOT, env=os.environ | block.environment, start_new_session=True
    )
    why = ""
    try:
        code = process.wait(seconds)
        why = f"it ended with exit code {code}"
    except subprocess.TimeoutExpired:
        why = f"it took more than {seconds:.0f} s"
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    return "" if block.there() else why


def device_here(any_device: bool) -> str:
    """The name of the device, asked of another process: one that has JAX open keeps most of a GPU's memory.

    Raises a UserError where it is no GPU, unless any will do.
    """
    code = "from benchmark.loop.device import device_name; print(device_name())"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    name = done.stdout.strip()
    if done.returncode or not name:
        raise UserError(f"JAX finds no device: {(done.stderr.strip().splitlines() or ['it does not say why'])[-1]}")
    if name.startswith("cpu") and not any_device:
        raise UserError(
            "JAX sees no GPU here; .venv/bin/pip install -r requirements-gpu.lock (--tiny tries it on a CPU)"
        )
    return name


# ------------------------------------------------------------------------------------------------------ the summary


def summary(place: Place) -> str:
    """What was measured so far, as Markdown, with what was aimed at."""
    size = " ".join(place.size)
    rows = [row for row in read_rates(place.rates()) if row["size"] == size]
    lines = [f"On {place.device}, {size} size:", ""]
    lines += _table(
        [
            "agent",
            "seeds",
            "precision",
            "seed-updates/s",
            "authors'",
            "times theirs",
            "of peak",
            "memory GB",
            "compile s",
        ],
        [_rate_cells(row) for row in rows],
    )
    lines += _more_seeds(rows)
    for ending in GRAPHS:
        other = [row for row in read_rates(place.rates(ending)) if row["size"] == size and not row["error"]]
        for row in other:
            base = _rate(rows, row["seeds"])
            share = f", {row['seed_updates_per_second'] / base:.2f} times the default" if base else ""
            lines += [
                f"* {ending}, rql, {row['seeds']} seeds: {row['seed_updates_per_second']:.4g} seed-updates/s{share}"
            ]
    for row in episodes.read_rows(episodes.evaluation_path(place.rates())):
        lines += [f"* evaluation of {row['domain']}, {row['seeds']} seeds: {row['steps_per_second']:,.0f} steps/s"]
    lines += [_run_line(path) for path in sorted(place.runs.glob("*/*/*/*/status.json"))]
    lines += [f"* the whole suite: python run_all.py --suite=ogbench --dry-run --rates={place.rates()}", ""]
    return "\n".join(lines)


def _rate_cells(row: dict[str, Any]) -> list[str]:
    first = [row["agent"], str(row["seeds"]), row["precision"]]
    if row["error"]:
        return [*first, row["error"], "", "", "", "", ""]
    theirs, times = row.get("authors", {}).get("updates_per_second"), row.get("authors_speedup")
    goal = GOALS.get((row["agent"], row["seeds"])) if row["precision"] == "default" else None
    peak = row["peak_share"]
    aimed = f" (goal {PEAK_GOAL:.0%})" if first == ["rql", str(MANY), "default"] else ""
    return [
        *first,
        f"{row['seed_updates_per_second']:.4g}",
        "" if theirs is None else f"{theirs:.4g}",
        "" if times is None else f"{times:.2f}" + (f" (goal {goal:g})" if goal else ""),
        "" if peak is None else f"{peak:.0%}{aimed}",
        "" if row["memory_bytes"] is None else f"{row['memory_bytes'] / 1e9:.2f}",
        f"{row['compile_seconds']:.0f}",
    ]


def _rate(rows: Sequence[dict[str, Any]], seeds: int) -> float | None:
    found = [row for row in rows if (row["agent"], row["seeds"], row["precision"]) == ("rql", seeds, "default")]
    return found[0].get("seed_updates_per_second") if found else None


def _more_seeds(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Where more seeds together no longer pay: by less than a tenth."""
    known = {seeds: rate for seeds in sorted((FEW, MANY, *MORE)) if (rate := _rate(rows, seeds))}
    best = max(known.values(), default=0.0)
    enough = next((seeds for seeds, rate in known.items() if rate > 0.9 * best), None)
    if len(known) < 3 or enough is None:
        return []
    return [f"* more than {enough} seeds of rql together pay by less than a tenth (of {', '.join(map(str, known))})"]


def _run_line(path: Path) -> str:
    status = read_json(path, {}) or {}
    train, played = (float(status.get(name) or 0) for name in ("train_seconds", "eval_seconds"))
    share = f", evaluation {100 * played / train:.0f}% of that beside it" if train else ""
    rows = Table(path.with_name("eval.csv")).rows
    last = [float(row["success"]) for row in rows if row["step"] == rows[-1]["step"]]
    success = f", success {sum(last) / len(last):.2f} over {len(last)} seeds" if last else ""
    where = path.relative_to(path.parents[4])
    return f"* run {where.parent}: {status.get('state')}, {train:.0f} s of training{share}{success}"


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [headings, ["---"] * len(headings), *rows]
    return [f"| {' | '.join(cells)} |" for cells in lines] + [""]
