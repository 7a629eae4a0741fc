"""Runs on a Slurm cluster, through submitit: job arrays, within the cluster's own limits.

A job does its runs with the local launcher, inside what it was given. It resumes from the runs' own files alone, so
that it does not matter whether Slurm starts it again by itself or submitit asks for it.
"""

from __future__ import annotations

import contextlib
import getpass
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import submitit
from submitit.helpers import DelayedSubmission

from benchmark.common.errors import UserError, check_choice
from benchmark.common.machine import ROOT
from benchmark.common.terminal import console
from benchmark.launching.ledger import JobArray, Launch
from benchmark.launching.local import LocalLauncher, slots
from benchmark.launching.slurm_options import SlurmOptions
from benchmark.runs.provenance import command_line
from benchmark.runs.run import RunSpec

MOST_JOBS_IN_FOLDER = 990
"""Jobs of one array: each has a folder of its own among the array's, and no folder gets a thousand entries."""
MOST_TIMEOUTS = 100
"""How often a job may run out of time and be queued again."""
SECONDS_TO_REQUEUE = 15
"""Of the time between the signal and the end of a job: what is left for asking to be queued again."""
CANCEL_SECONDS = 60.0
ATTEMPTS = 3
SECONDS_BETWEEN_ATTEMPTS = 2.0
SECONDS_TO_BE_ENDED = 600
"""How long a job that was told to end waits for its end: one that ends by itself would not be queued again."""

UNFINISHED = {"PENDING", "RUNNING", "COMPLETING", "REQUEUED", "RESIZING", "SUSPENDED"}
"""States, in Slurm's accounting, of jobs that have not ended."""


# ------------------------------------------------------------------------------------------- asking the cluster


def ask(*command: str, timeout: float = 30) -> str | None:
    """What a Slurm command prints, None where it fails or is not there."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


class NoAnswer(UserError):
    """Slurm does not answer, so that nothing can be said of its jobs, and nothing done."""


def insist(*command: str) -> str:
    """What a Slurm command prints. Asked several times, as a busy controller leaves some unanswered; then raises
    `NoAnswer`.
    """
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(SECONDS_BETWEEN_ATTEMPTS)
        if (answer := ask(*command)) is not None:
            return answer
    raise NoAnswer(f"Slurm does not answer ({command[0]} fails)")


def check_cluster(options: SlurmOptions, out: Path = Path()) -> None:
    """Raise a UserError for what the cluster would refuse, before anything is submitted; `out` is the results' folder,
    whose name stands in the jobs' script.
    """
    for path in (out.absolute(), ROOT, Path(sys.executable)):
        if not str(path).isprintable():
            raise UserError(f"--launcher=slurm cannot do with control characters in a path: {str(path)!r}")
    if not shutil.which("sbatch"):
        raise UserError("--launcher=slurm needs Slurm's commands, and there is no sbatch on PATH")
    listed = insist("sinfo", "--noheader", "--format=%R|%l|%P")
    partitions = [line.split("|") for line in listed.split()]
    limit_of = {name: limit for name, limit, _ in partitions}
    default = [name for name, _, mark in partitions if mark.endswith("*")]
    for name in options.partition.split(",") if options.partition else default:
        limit = limit_of[check_choice("partition", name, limit_of)]
        if limit[:1].isdigit() and options.minutes > SlurmOptions(time=limit).minutes:
            raise UserError(f"a job may take {limit} in partition '{name}', and --time asks for {options.time}")
    accounts = ask("sacctmgr", "-nP", "show", "assoc", "where", f"user={getpass.getuser()}", "format=Account")
    if options.account and accounts and accounts.strip():
        check_choice("account", options.account, dict.fromkeys(accounts.split()))
    done = subprocess.run(
        ["sbatch", "--test-only", *options.arguments(), "--wrap=true"], capture_output=True, text=True
    )
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["it does not say why"]
        said = [line.split("error: ")[-1] for line in lines if "error" in line]
        raise UserError(f"Slurm refuses such jobs: {'; '.join(said) or lines[0].removeprefix('sbatch: ')}")


@dataclass(frozen=True)
class Limits:
    """What a cluster takes."""

    array: int = 1000
    """Jobs of an array."""
    jobs: int | None = None
    """Jobs that may be submitted now, None where no limit is known."""
    reason: str = ""
    """The setting behind `jobs`."""


def limits(options: SlurmOptions) -> Limits:
    """The cluster's limits, less what is in the queue already."""
    found = dict(re.findall(r"^(\w+)\s*= (\S+)", ask("scontrol", "show", "config") or "", re.MULTILINE))
    array = min(int(found.get("MaxArraySize", 1001)), MOST_JOBS_IN_FOLDER)
    queued = len(insist("squeue", "-h", "-r", "-o", "%i").splitlines())
    own = len(queue())
    most = [(int(found["MaxJobCount"]) - queued, "MaxJobCount")] if "MaxJobCount" in found else []
    user = f"user={getpass.getuser()}"
    for name, text in (
        ("MaxSubmitJobs", ask("sacctmgr", "-nP", "show", "assoc", "where", user, "format=MaxSubmitJobs,Account")),
        ("MaxSubmitJobsPU", ask("sacctmgr", "-nP", "show", "qos", options.qos or "normal", "format=MaxSubmitJobsPU")),
    ):
        for line in (text or "").splitlines():
            limit, _, account = line.partition("|")
            if limit.isdigit() and (not account or account == (options.account or account)):
                most.append((int(limit) - own, f"{name}={limit}"))
    jobs, reason = min(most, default=(None, ""))
    return Limits(array, jobs if jobs is None else max(0, jobs), reason)


def queue() -> dict[str, str]:
    """State of each of the user's jobs that is pending or running, by the name of the job, e.g. "12_3"; {} where there
    is no Slurm. Raises `NoAnswer`: a queue that is not known is no empty one.
    """
    if not shutil.which("squeue"):
        return {}
    text = insist("squeue", "-h", "-r", "-u", getpass.getuser(), "-o", "%i|%T")
    return dict(line.split("|", 1) for line in text.splitlines() if "|" in line)


def ended(jobs: Iterable[str]) -> dict[str, str]:
    """State in which jobs of these arrays ended, e.g. "OUT_OF_MEMORY", by the name of the job; {} without records.

    Accounting follows the queue by seconds: a job that has left the queue is missing here until it is recorded.
    """
    numbers = ",".join(dict.fromkeys(job.partition("_")[0] for job in jobs))
    text = ask("sacct", "-n", "-P", "-X", "-D", "-j", numbers, "-o", "JobID,State") if numbers else None
    states = dict(line.split("|", 1) for line in (text or "").splitlines() if "|" in line)
    first_words = {job: state.split(" ")[0] for job, state in states.items()}
    return {job: state for job, state in first_words.items() if state not in UNFINISHED}


def cancel(jobs: Sequence[str]) -> list[str]:
    """Cancel arrays, and wait until they are gone from the queue; return those that are not, after a while. Raises
    `NoAnswer` where that was not taken.
    """
    insist("scancel", *jobs)
    deadline = time.monotonic() + CANCEL_SECONDS
    while (left := queued_of(jobs)) and time.monotonic() < deadline:
        time.sleep(1)
    return left


def queued_of(arrays: Sequence[str]) -> list[str]:
    """Those arrays of which a job is pending or running."""
    numbers = {job.partition("_")[0] for job in queue()}
    return [array for array in arrays if array in numbers]


# --------------------------------------------------------------------------------------------------- submission


def runs_per_job(runs: int, asked: int | None, usual: int, most: Limits) -> int:
    """How many runs each job does, as many at once as it has GPUs: as asked, else as usual, more where the cluster's
    limits want fewer jobs. Raises a UserError where what is asked does not fit.
    """
    if most.jobs == 0 and runs:
        raise UserError(f"the cluster takes no more jobs now ({most.reason}); wait, or --cancel others")
    needed = 1 if most.jobs is None else -(-runs // max(1, most.jobs))
    if asked and asked < needed:
        raise UserError(
            f"{-(-runs // asked)} jobs are more than the {most.jobs} that the cluster takes now ({most.reason}); "
            f"--runs-per-job={needed} would fit"
        )
    return asked or max(usual, needed)


def submit(
    launch: Launch,
    runs: Sequence[RunSpec],
    options: SlurmOptions,
    job: RunsJob,
    size: int,
    most: Limits,
    on_array: Callable[[JobArray], None] = lambda array: None,
) -> None:
    """Submit `runs`, those of `launch.submitted`, `size` to a job, in arrays of `most.array` jobs.

    Each array is recorded as soon as it is submitted. With a limit on the jobs at once the arrays follow one another:
    a limit holds for one array only.
    """
    step = size * most.array
    for number, first in enumerate(range(0, len(runs), step)):
        chunk = runs[first : first + step]
        before = launch.arrays[-1].job if options.parallel and launch.arrays else None
        folder = f"array-{number}"
        batches = [[spec.to_json() for spec in chunk[i : i + size]] for i in range(0, len(chunk), size)]
        try:
            name = _submit_array(launch.folder / folder, batches, options, job, before)
        except Exception as error:
            said = next((line for line in reversed(str(error).splitlines()) if "error" in line), str(error))
            message = f"Slurm refused array {number + 1}: {said}; {first} of {len(runs)} runs are submitted"
            raise UserError(message) from error
        array = JobArray(name, first, len(chunk), size, folder)
        launch.add_array(array)
        try:
            insist("scontrol", "release", name)
        except NoAnswer as error:
            raise UserError(
                f"array {name} is submitted, but held until `scontrol release {name}` ({error}); "
                f"{first + len(chunk)} of {len(runs)} runs are submitted"
            ) from error
        on_array(array)


def _submit_array(
    folder: Path, batches: Sequence[list[str]], options: SlurmOptions, job: RunsJob, before: str | None
) -> str:
    """Submit a job for each batch; return the array's number.

    The array is held until submitit has made the folders of its jobs, which Slurm needs for their output, and until
    its number is on record.
    """
    python = f"{options.container} python" if options.container else None
    executor = submitit.SlurmExecutor(folder / "%j", max_num_timeout=MOST_TIMEOUTS, python=python)
    # With underscores, as submitit names its own, so that what is asked for takes the place of those.
    further: dict[str, Any] = {"hold": True}
    further |= {name.replace("-", "_"): value for name, value in options.further_flags().items()}
    if before:
        further["dependency"] = ",".join(filter(None, [further.get("dependency"), f"afterany:{before}"]))
    parameters = dict(options.flags(), time=options.minutes, job_name="rql", stderr_to_stdout=True)
    parameters |= dict(signal_delay_s=options.signal_delay, additional_parameters=further)
    parameters |= dict(array_parallelism=options.parallel or len(batches))
    path = shlex.quote(str(ROOT)) + '"${PYTHONPATH:+:$PYTHONPATH}"'
    parameters |= dict(setup=[f"export PYTHONPATH={path}", *options.setup])
    executor.update_parameters(**parameters)
    return executor.map_array(job, batches)[0].job_id.partition("_")[0]


class RunsJob:
    """What a job does: its runs, from wherever their files say that they are."""

    def __init__(self, runs_per_process: int, jobs: int | None, timeout: float | None, signal_delay: int):
        """See `benchmark.launching.local.run_locally`; `signal_delay` as in `SlurmOptions`."""
        self.settings = (runs_per_process, jobs, timeout, signal_delay)
        self.command = command_line()
        self.launcher: LocalLauncher | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {"settings": self.settings, "command": self.command, "launcher": None}

    def __call__(self, lines: Sequence[str]) -> list[str]:
        """Do the runs; return the reasons of those that failed."""
        runs_per_process, jobs, timeout, _ = self.settings
        runs = [RunSpec.from_json(line) for line in lines]
        self.launcher = LocalLauncher(runs, console, slots(jobs), runs_per_process, timeout, command=self.command)
        outcomes = self.launcher.run()
        if self.launcher.stopped:
            time.sleep(SECONDS_TO_BE_ENDED)
            raise RuntimeError("the runs were asked to stop, but the job was not ended")
        failed = [f"{outcome.path}: {outcome.reason}" for outcome in outcomes if outcome.reason and not outcome.busy]
        for line in failed:
            console.print(f"failed: {line}", markup=False, soft_wrap=True)
        return failed

    def checkpoint(self, lines: Sequence[str]) -> Any:
        """Called by submitit before the job's time is up or it is preempted: save, and do the rest in another job."""
        if self.launcher:
            with contextlib.suppress(Exception):
                self.launcher.stop(max(1, self.settings[-1] - SECONDS_TO_REQUEUE))
        return DelayedSubmission(self, lines)
