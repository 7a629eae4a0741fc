"""How the runs of a folder stand, read from the records of its launches and of its runs, and from Slurm's queue.

Needs nothing of the process that launched them, and no JAX: twelve thousand runs take seconds.
"""

from __future__ import annotations

import os
import platform
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from benchmark.common.errors import UserError, printable
from benchmark.common.files import is_locked
from benchmark.common.reading import Damaged
from benchmark.launching import slurm
from benchmark.launching.ledger import FOLDER, Launch, ignore, read_launches
from benchmark.runs.reading import read_records
from benchmark.runs.run import RunSpec
from benchmark.runs.seeds import format_seeds

STATES = ("planned", "queued", "running", "done", "failed", "stopped", "damaged")
"""planned: in no queue; stopped: begun, and its process is gone (launched again it goes on from its checkpoint);
damaged: its records cannot be used."""
NOT_WELL = ("stopped", "failed", "damaged")
"""States that a person has to do something about."""
MOST_LINES = 20
"""Runs of a kind that are listed one by one."""
SLOWEST = 1e-6
"""Updates a second: what is slower has no end to tell."""
WATCH_SECONDS = 5.0
CANCEL_SECONDS = 30.0


@dataclass(frozen=True)
class RunState:
    """How a run stands."""

    spec: RunSpec
    path: Path
    state: str
    """One of `STATES`."""
    record: dict[str, Any]
    """Its status.json."""
    reason: str = ""
    """Why it failed or stopped, in a line."""
    log: Path | None = None
    """Where to read on."""

    @property
    def seconds_left(self) -> float | None:
        """Seconds of training to go, None where no rate is known."""
        rate = self.record.get("updates_per_second", 0)
        left = max(0, self.spec.steps - self.record.get("step", 0))
        return left / rate if rate > SLOWEST else None

    @property
    def seconds(self) -> float:
        """Seconds of training and evaluation so far."""
        return self.record.get("train_seconds", 0.0) + self.record.get("eval_seconds", 0.0)


@dataclass(frozen=True)
class Place:
    """Where a run was last launched."""

    spec: RunSpec
    launch: Launch
    job: str | None
    """The cluster's job, None of a local launch and of a run that was not submitted."""
    folder: str = ""
    """Of the job's array."""


def places(out: Path, on_damage: Callable[[str], None] = ignore) -> list[Place]:
    """Every run that was launched in a folder, with its last launch, in the order of the plan; `on_damage` is told of
    records of launches that cannot be used.
    """
    found: dict[Path, Place] = {}
    for launch in read_launches(out, on_damage):
        runs = launch.runs(out, on_damage)
        jobs: dict[int, tuple[str, str]] = {}
        for array in launch.arrays:
            for i in range(array.first, array.first + array.count):
                jobs[launch.submitted[i]] = array.job_of(i), array.folder
        for index, spec in enumerate(runs):
            if spec is None:
                continue
            path = spec.path
            known = found.get(path)
            job, folder = jobs.get(index, (None, ""))
            if job is None and launch.about["launcher"] == "slurm" and known:
                continue  # it was queued or done already: its job is the earlier one
            found[path] = Place(spec, launch, job, folder)
    return list(found.values())


def run_states(out: Path, on_damage: Callable[[str], None] = ignore) -> list[RunState]:
    """How every run that was launched in a folder stands. Raises a UserError where there is no launch.

    `on_damage` is told of records of launches that cannot be used.
    """
    damage: list[str] = []
    every = places(out, damage.append)
    for reason in damage:
        on_damage(reason)
    if not every and damage:
        raise UserError(f"no launch in {out} can be read: {damage[0]}")
    if not every:
        raise UserError(f"nothing was launched in {out}; --dry-run prints a plan, --out names another folder")
    on_cluster = any(place.job for place in every)
    queue = slurm.queue() if on_cluster else {}
    alive = {id(place.launch): place.launch.is_alive() for place in every}
    judged = [_judge(place, queue, alive[id(place.launch)]) for place in every]
    unexplained = [
        (i, place.job)
        for i, (place, run) in enumerate(zip(every, judged, strict=True))
        if place.job and place.job not in queue and run.state in ("planned", "stopped")
    ]
    ends = slurm.ended({job for _, job in unexplained if job})
    for i, job in unexplained:
        judged[i] = _after_its_job(judged[i], every[i], job, ends.get(job or ""))
    return judged


def _judge(place: Place, queue: dict[str, str], alive: bool) -> RunState:
    """A run's state from its files, its job in the queue, and whether its local launcher lives."""
    spec, path = place.spec, place.spec.path
    log = path / "log.txt"
    try:
        record = read_records(path).status
    except Damaged as error:
        return RunState(spec, path, "damaged", {}, error.brief, log)
    recorded = record.get("state")
    if spec.is_done_by(record):
        return RunState(spec, path, "done", record)
    job = queue.get(place.job or "", "")
    running = recorded == "running" and (job == "RUNNING" or is_locked(path / ".lock"))
    if running:
        return RunState(spec, path, "running", record, log=log)
    # A failure of an earlier launch does not count once the run is in a queue again.
    again = record.get("updated", "") < place.launch.about["time"]
    first = (record.get("error") or "no reason was recorded").partition("\n")[0]
    if recorded == "failed" and not (again and (job or alive)):
        return RunState(spec, path, "failed", record, first, log)
    if job or alive:
        return RunState(spec, path, "queued", record, reason=job.lower())
    if recorded:
        reason = first if recorded == "interrupted" else "its process is gone"
        return RunState(spec, path, "stopped", record, reason, log)
    return RunState(spec, path, "planned", record)


def _after_its_job(run: RunState, place: Place, job: str | None, ended: str | None) -> RunState:
    """A run that is not done though its job is no longer queued: say how the job ended."""
    log = place.launch.folder / place.folder / f"{job}" / f"{job}_0_log.out"
    said = f"its job {job} ended as {ended}" if ended else f"its job {job} is gone"
    if run.state == "planned" and (ended is None or ended.startswith(("CANCELLED", "COMPLETED"))):
        return run
    state = "stopped" if run.state == "stopped" else "failed"
    return RunState(run.spec, run.path, state, run.record, said, log if log.exists() else run.log)


# ------------------------------------------------------------------------------------------------ what is shown


def page(out: Path, runs: Sequence[RunState], damage: Sequence[str] = ()) -> RenderableType:
    """The status page; `damage` are records of launches that cannot be used, and why."""
    counts = Counter(run.state for run in runs)
    diverged = [run for run in runs if run.record.get("diverged")]
    parts: list[RenderableType] = [_counts_table(runs)]
    line = f"{out}: {len(runs)} runs; " + ", ".join(f"{counts[s]} {s}" for s in STATES if counts[s])
    if diverged:
        line += f"; {len(diverged)} with diverged seeds"
    parts.append(Text(printable(line + _time_left(runs, counts))))
    if counts["running"]:
        parts.append(_running_table([run for run in runs if run.state == "running"]))
    for state in NOT_WELL:
        parts += _reasons(state, [run for run in runs if run.state == state])
    parts += _listed(diverged, lambda run: f"diverged: {run.path}: {_divergence(run)}")
    parts += [Text(f"damaged, and left out: {reason}") for reason in damage[:MOST_LINES]]
    if len(damage) > MOST_LINES:
        parts.append(Text(f"damaged, and left out: {len(damage) - MOST_LINES} more records of launches"))
    if counts["failed"] or counts["stopped"]:
        parts.append(Text("--retry-failed launches the failed and stopped runs again"))
    return Group(*parts)


def _counts_table(runs: Sequence[RunState]) -> Table:
    counts = Counter((run.spec.label, run.state) for run in runs)
    shown = [state for state in STATES if any(counts[key] for key in counts if key[1] == state)]
    table = Table("agent", *shown)
    for agent in dict.fromkeys(run.spec.label for run in runs):
        table.add_row(agent, *(str(counts[agent, state] or "") for state in shown))
    return table


def _running_table(running: Sequence[RunState]) -> Table:
    more = len(running) - MOST_LINES
    table = Table("running", "seeds", "step", "", "updates/s", "left", caption=f"and {more} more" if more > 0 else None)
    for run in running[:MOST_LINES]:
        step, steps = max(0, run.record.get("step", 0)), run.spec.steps
        rate, left = run.record.get("updates_per_second"), run.seconds_left
        table.add_row(
            *(f"{run.spec.label} on {run.spec.task}", format_seeds(run.spec.seeds)),
            *(f"{step:,} of {steps:,}", f"{100 * step / max(1, steps):.0f}%"),
            *("" if rate is None else f"{rate:,.0f}", "" if left is None else duration(left)),
        )
    return table


def _time_left(runs: Sequence[RunState], counts: Counter[str]) -> str:
    """An estimate for what runs and waits: as long as the finished runs took, as many at once as now."""
    done = [run.seconds for run in runs if run.state == "done" and run.seconds]
    if not counts["running"] or not done:
        return ""
    each = sum(done) / len(done)
    begun = sum(run.seconds_left or each for run in runs if run.state == "running")
    return f"; about {duration((begun + each * counts['queued']) / counts['running'])} left"


def _reasons(state: str, runs: Sequence[RunState]) -> Iterator[Text]:
    """A line for each reason, with the first run's log."""
    groups: dict[str, list[RunState]] = {}
    for run in runs:
        groups.setdefault(run.reason, []).append(run)
    for reason, members in list(groups.items())[:MOST_LINES]:
        first = members[0]
        which = str(first.path) if len(members) == 1 else f"{len(members)} runs, the first {first.path}"
        log = f" (log: {first.log})" if first.log and first.log.exists() else ""
        yield Text(printable(f"{state}: {which}: {reason}{log}"))
    if len(groups) > MOST_LINES:
        yield Text(f"{state}: and {len(groups) - MOST_LINES} other reasons")


def _listed(runs: Sequence[RunState], text) -> Iterator[Text]:
    yield from (Text(printable(text(run))) for run in runs[:MOST_LINES])
    if len(runs) > MOST_LINES:
        yield Text(f"and {len(runs) - MOST_LINES} more")


def _divergence(run: RunState) -> str:
    return ", ".join(f"seed {seed} at step {step:,}" for seed, step in run.record["diverged"].items())


def duration(seconds: float) -> str:
    """Hours and minutes."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}"


def show(out: Path, console: Console, watch: bool = False) -> int:
    """Print the page, with `watch` again and again until nothing is queued or running.

    Returns 1 where runs failed or records are damaged, else 0.
    """
    runs, damage = _read(out)
    if watch and console.is_terminal:
        with Live(page(out, runs, damage), console=console, auto_refresh=False) as live:
            while _at_work(runs):
                time.sleep(WATCH_SECONDS)
                runs, damage = _read_again(out, runs, damage, console)
                live.update(page(out, runs, damage), refresh=True)
    else:
        while watch and _at_work(runs):
            time.sleep(WATCH_SECONDS)
            runs, damage = _read_again(out, runs, damage, console)
        console.print(page(out, runs, damage), soft_wrap=True)
    return int(bool(damage) or any(run.state in NOT_WELL for run in runs))


def _read(out: Path) -> tuple[list[RunState], list[str]]:
    damage: list[str] = []
    return run_states(out, damage.append), damage


def _read_again(
    out: Path, runs: list[RunState], damage: list[str], console: Console
) -> tuple[list[RunState], list[str]]:
    """As `_read`; what was known before where Slurm does not answer."""
    try:
        return _read(out)
    except slurm.NoAnswer as error:
        console.print(f"{error}; what is shown was known before", soft_wrap=True)
        return runs, damage


def _at_work(runs: Sequence[RunState]) -> bool:
    return any(run.state in ("queued", "running") for run in runs)


def cancel(out: Path, console: Console) -> None:
    """Cancel what is queued or running: the cluster's jobs, and local launchers of this machine."""
    for launch in read_launches(out):
        if launch.arrays and (jobs := slurm.queued_of([array.job for array in launch.arrays])):
            left = slurm.cancel(jobs)
            if gone := [job for job in jobs if job not in left]:
                console.print(f"cancelled Slurm's {', '.join(gone)}")
            if left:
                raise UserError(f"Slurm was asked to cancel {', '.join(left)}, and has not ended them yet")
        if launch.is_alive():
            _end_launcher(launch, console)


def _end_launcher(launch: Launch, console: Console) -> None:
    host, process = launch.about["host"], launch.about["process"]
    if host != platform.node():
        raise UserError(f"the launcher, process {process}, runs on {host}: cancel it there")
    if process == 1:  # of a container; where its host's name is this machine's, process 1 here is another
        raise UserError(f"the launcher is the first process of a container on {host}: stop that container")
    os.kill(process, signal.SIGTERM)
    deadline = time.monotonic() + CANCEL_SECONDS
    while launch.is_alive() and time.monotonic() < deadline:
        time.sleep(0.1)
    console.print(f"ended the launcher, process {process}" if not launch.is_alive() else f"{process} does not end")


def folders(out: str | None, suite: str | None) -> list[Path]:
    """The folder asked for, or all folders of results in which something was launched."""
    if out or suite:
        return [Path(out or f"runs/{suite}")]
    found = sorted(path.parent for path in Path("runs").glob(f"*/{FOLDER}"))
    if not found:
        raise UserError("nothing was launched in runs/; --out names another folder")
    return found
