"""Launching runs on this machine, each process apart, so that one that fails does not touch the others."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from rich.console import Console

from benchmark.common.errors import UserError
from benchmark.common.files import is_locked
from benchmark.common.machine import ROOT, usable_cores
from benchmark.common.reading import Damaged
from benchmark.common.terminal import progress_bar
from benchmark.loop.stopping import STOP_SIGNAL
from benchmark.loop.worker import execute
from benchmark.runs.provenance import COMMAND, command_line
from benchmark.runs.record import RunDirectory
from benchmark.runs.run import RunSpec

CORES_PER_RUN = 4
"""Cores that a run on a CPU gets where nothing else is asked: small networks gain little from more."""
POLL_SECONDS = 0.05
SECONDS_TO_STOP = 10.0


@dataclass(frozen=True)
class Outcome:
    """How a run ended."""

    path: Path
    reason: str
    """The line that says what went wrong, '' where nothing did."""
    busy: bool = False
    """Whether another process is at it: that is no failure."""


@dataclass(frozen=True)
class Slot:
    """A place for one process at a time: a device, and a share of the cores."""

    number: int
    environment: dict[str, str]
    cores: tuple[int, ...] = ()
    """The cores to use, all if empty."""


def gpus() -> list[str]:
    """The GPUs that runs may use, as CUDA names them; asks neither JAX nor the devices."""
    if (platforms := os.environ.get("JAX_PLATFORMS")) and not {"cuda", "gpu"} & set(platforms.split(",")):
        return []
    if (visible := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return [name for name in visible.split(",") if name not in ("", "-1", "NoDevFiles")]
    if not any(importlib.util.find_spec(f"jax_cuda{version}_plugin") for version in (12, 13)):
        return []
    if not shutil.which("nvidia-smi"):
        return []
    listed = subprocess.run(["nvidia-smi", "--list-gpus"], capture_output=True, text=True).stdout
    return [str(number) for number, line in enumerate(listed.splitlines()) if line.startswith("GPU ")]


def slots(jobs: int | None = None) -> list[Slot]:
    """Places for `jobs` processes at once: by default one per GPU, and where there is none one per four cores.

    Processes share the GPUs evenly, also the memory of one GPU, and divide the cores.
    """
    devices, cores = gpus(), usable_cores()
    jobs = jobs or len(devices) or max(1, len(cores) // CORES_PER_RUN)
    places = []
    for number in range(jobs):
        environment = {}
        if devices:
            environment["CUDA_VISIBLE_DEVICES"] = devices[number % len(devices)]
            sharing = -(-jobs // len(devices))
            if sharing > 1 and "XLA_PYTHON_CLIENT_MEM_FRACTION" not in os.environ:
                environment["XLA_PYTHON_CLIENT_MEM_FRACTION"] = f"{0.9 / sharing:.3f}"
        share = tuple(cores[number::jobs]) or (cores[number % len(cores)],)
        places.append(Slot(number, environment, share if jobs > 1 else ()))
    return places


def run_in_this_process(runs: Sequence[RunSpec]) -> list[Outcome]:
    """Do the runs here, one after the other; the first error is raised, for a debugger to see."""
    outcomes = []
    for spec in runs:
        execute(spec)
        outcomes.append(Outcome(spec.path, ""))
    return outcomes


def run_locally(
    runs: Sequence[RunSpec],
    console: Console,
    *,
    runs_per_process: int = 1,
    jobs: int | None = None,
    timeout: float | None = None,
    logs: Path | None = None,
) -> list[Outcome]:
    """Do the runs, `jobs` processes at once (default: see `slots`), several runs to a process where they are short.

    A process that dies, or is at one run for more than `timeout` seconds and killed for it, takes down only that run;
    the next process goes on with the one after. A run that another process is at is left to that one. Where several
    processes are at work, what they print goes to files in `logs`, if given.
    """
    return LocalLauncher(runs, console, slots(jobs), runs_per_process, timeout, logs).run()


class LocalLauncher:
    """The loop behind `run_locally`; `stop` ends it from a signal handler."""

    def __init__(
        self,
        runs: Sequence[RunSpec],
        console: Console,
        places: Sequence[Slot],
        runs_per_process: int = 1,
        timeout: float | None = None,
        logs: Path | None = None,
        command: str | None = None,
    ):
        """See `run_locally`; `command` is the one that a person gave, where that is not this process's."""
        self.runs, self.console, self.runs_per_process, self.timeout = list(runs), console, runs_per_process, timeout
        self.waiting = deque(self.runs)
        self.free = list(places)
        self.alone = len(self.free) == 1
        self.command = command or command_line()
        self.logs = None if self.alone else logs
        self.processes: list[_Process] = []
        self.stopped = False
        """Whether a run was asked to stop, and did."""
        self.outcomes: dict[Path, Outcome] = {}
        self.progress = progress_bar(console, hidden=self.alone)

    def run(self) -> list[Outcome]:
        """Do all runs; return how they ended, in their order."""
        try:
            with self.progress:
                bar = self.progress.add_task("runs", total=len(self.runs))
                while self.waiting or self.processes:
                    self._start()
                    self.look_after()
                    self.progress.update(bar, completed=len(self.outcomes))
                    if self.processes:
                        time.sleep(POLL_SECONDS)
        finally:
            self._end(signal.SIGTERM)
        return [self.outcomes[path] for path in (spec.path for spec in self.runs) if path in self.outcomes]

    def stop(self, seconds: float) -> None:
        """Ask the runs to save where they are, and give them `seconds` for it."""
        self.waiting.clear()
        self._end(STOP_SIGNAL, seconds)

    def _start(self) -> None:
        while self.free and (batch := self._next_batch()):
            slot = self.free.pop(0)
            first, last = len(self.outcomes) + 1, len(self.outcomes) + len(batch)
            what = f"run {first}" if first == last else f"runs {first} to {last}"
            names = f"{batch[0].label} on {batch[0].task}{' ...' if len(batch) > 1 else ''}"
            if self.alone:
                self.console.rule(f"{what} of {len(self.runs)}: {names}")
            else:
                self.console.print(f"started in slot {slot.number}: {names}", markup=False)
            self.processes.append(_Process(batch, slot, self.logs, self.command))

    def _next_batch(self) -> list[RunSpec]:
        """The next runs that no one else has done or is at."""
        batch: list[RunSpec] = []
        while self.waiting and len(batch) < self.runs_per_process:
            spec = self.waiting.popleft()
            path = spec.path
            try:
                done = spec.is_done_by(RunDirectory(path).status)
            except Damaged as error:
                self._note(spec, "failed", error.brief)
                continue
            if done:
                self.outcomes[path] = Outcome(path, "")
            elif is_locked(path / ".lock"):
                self.outcomes[path] = Outcome(path, "another process is at it", busy=True)
            else:
                batch.append(spec)
        return batch

    def look_after(self) -> None:
        """Note which runs ended, and which process died at which run."""
        for process in list(self.processes):
            late = self.timeout is not None and process.seconds_at_run() > self.timeout
            if late:
                process.process.kill()
                process.process.wait()
            code = process.process.poll()
            ends = process.new_ends()
            for spec, state, reason in ends:
                if state == "failed":
                    record_death(spec, reason)  # where it failed before it had a record
                self._note(spec, state, reason)
            if code is None:
                continue
            self.processes.remove(process)
            self.free.insert(0, process.slot)
            process.close()
            left = process.left()
            if process.stopped:  # whoever asked one to stop wants no other started
                self.stopped = True
                self.waiting.clear()
            if not left or process.stopped:
                continue
            reason = f"it ran for more than {self.timeout:g} s and was killed" if late else death(code)
            if self.logs:
                reason += f" (what it printed: {process.log})"
            record_death(left[0], reason)
            self._note(left[0], "failed", reason)
            self.waiting.extendleft(reversed(left[1:]))

    def _note(self, spec: RunSpec, state: str, reason: str) -> None:
        path = spec.path
        self.outcomes[path] = Outcome(path, reason, busy=state == "busy")
        if not self.alone:
            self.console.print(f"{state}: {path}{f': {reason}' if reason else ''}", markup=False, soft_wrap=True)

    def _end(self, number: signal.Signals, seconds: float = SECONDS_TO_STOP) -> None:
        """End the processes by a signal, and by SIGKILL those that do not heed it in time."""
        for process in self.processes:
            process.process.send_signal(number)
        deadline = time.monotonic() + seconds
        for process in self.processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.process.wait(max(0.0, deadline - time.monotonic()))
            process.process.kill()
            process.process.wait()
            process.close()
        self.processes.clear()


@dataclass
class _Process:
    """A process that does a batch of runs one after the other. It gets them, and says how they ended, through pipes:
    whoever is killed leaves nothing behind, and no full disk hides how a run ended.
    """

    batch: Sequence[RunSpec]
    slot: Slot
    logs: Path | None
    command: str
    ended: int = 0
    stopped: bool = False
    process: subprocess.Popen = field(init=False)

    def __post_init__(self) -> None:
        self.ends, its_end = os.pipe()
        os.set_blocking(self.ends, False)
        self.said = b""
        command = [sys.executable, "-m", "benchmark.train", "--specs", str(its_end)]
        if self.slot.cores:
            command += ["--cores", ",".join(map(str, self.slot.cores))]
        paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        environment = {**os.environ, **self.slot.environment, "PYTHONPATH": paths, COMMAND: self.command}
        with self._output() as output:
            self.process = subprocess.Popen(
                command,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output and subprocess.STDOUT,
                pass_fds=[its_end],
            )
        os.close(its_end)
        self.since = time.monotonic()
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it died: `left` tells
            self.process.stdin.write("".join(f"{spec.to_json()}\n" for spec in self.batch).encode() + b"\n")
            self.process.stdin.flush()

    @property
    def log(self) -> Path:
        """The file of what it prints, where that is not shown."""
        assert self.logs is not None
        return self.logs / f"worker-{self.slot.number}.log"

    def _output(self) -> contextlib.AbstractContextManager[IO | None]:
        try:
            return self.log.open("a") if self.logs else contextlib.nullcontext()
        except OSError as error:
            raise UserError(f"cannot write {self.log}: {error.strerror or error}") from error

    def new_ends(self) -> list[tuple[RunSpec, str, str]]:
        """(run, "done", "failed", "busy" or "stopped", reason) of the runs that ended since the last call."""
        with contextlib.suppress(BlockingIOError):
            while some := os.read(self.ends, 2**16):
                self.said += some
        *lines, self.said = self.said.split(b"\n")
        found = [(self.batch[i], *json.loads(line)) for i, line in enumerate(lines, start=self.ended)]
        if found:
            self.ended, self.since = self.ended + len(found), time.monotonic()
            self.stopped = found[-1][1] == "stopped"
        return found

    def left(self) -> list[RunSpec]:
        """The runs that have not ended; if the process is dead, it died at the first."""
        return list(self.batch[self.ended :])

    def seconds_at_run(self) -> float:
        """How long it has been at its present run."""
        return time.monotonic() - self.since

    def close(self) -> None:
        """Close its pipes."""
        os.close(self.ends)
        if self.process.stdin:
            with contextlib.suppress(BrokenPipeError):
                self.process.stdin.close()


def death(code: int) -> str:
    """How a process died, from its exit code."""
    if code >= 0:
        return f"its process ended with exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = str(-code)
    return f"its process was killed by signal {-code} ({name})"


def record_death(spec: RunSpec, reason: str) -> None:
    """Record for a run what its dead process could not."""
    directory = RunDirectory(spec.path)
    with contextlib.suppress(OSError, Damaged):
        if Path(spec.out).is_dir() and directory.status.get("state") not in ("done", "failed"):
            directory.path.mkdir(parents=True, exist_ok=True)
            directory.record_end("failed", reason)
