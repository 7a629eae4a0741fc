"""What `run_all.py` does with its options."""

from __future__ import annotations

import argparse
import dataclasses
import signal
import time
from collections.abc import Callable
from pathlib import Path

from benchmark.common.errors import UserError, printable, summary
from benchmark.common.files import make_folder
from benchmark.common.options import refuse, refuse_all_but, whole_number
from benchmark.common.reading import Damaged
from benchmark.common.terminal import console
from benchmark.launching import slurm, status
from benchmark.launching.asked import OF_SLURM, How, given_before, how_to_launch, runs_asked_for
from benchmark.launching.dry_run import print_origins, print_other_code, print_plan, print_starts
from benchmark.launching.ledger import Launch, read_launches
from benchmark.launching.listing import list_everything
from benchmark.launching.local import Outcome, record_death, run_in_this_process, run_locally
from benchmark.planning.run import Run, begin_anew
from benchmark.planning.suites import SUITES, get_suite
from benchmark.runs.code import digests, files_on_disk
from benchmark.runs.record import differences
from benchmark.runs.run import RunSpec
from benchmark.speed.disk import check_disk
from benchmark.watching.at_the_end import film_together

OF_RETRYING = {"retry_failed", "out", "suite", "watch", "last", "launcher", "jobs", "runs_per_process", "run_timeout"}
OF_RETRYING |= {*OF_SLURM}
"""Options that --retry-failed takes: which folder, and how its runs are launched."""


def run(options: argparse.Namespace) -> int:
    """Do what the options ask; return the exit code."""
    if options.list:
        list_everything()
        return 0
    last = whole_number("--last", "1" if options.last is None else options.last)
    if options.retry_failed:
        return retry(options, last)
    if not options.suite:
        raise UserError(f"--suite is needed: {', '.join(SUITES)} (--list says more)")
    suite = get_suite(options.suite)
    out = Path(options.out or f"runs/{suite.name}")
    how = how_to_launch(options, suite.runs_per_process)
    runs = runs_asked_for(options, suite, out)
    fewest = min(run.protocol.evaluations for run in runs)
    if last > fewest and fewest and not options.report:
        raise UserError(f"--last must be at most {fewest}, the evaluations of these runs, not {last}")
    if options.dry_run or options.estimate:
        print_plan(runs, options.estimate, options.rates, options.anew, how.at_once)
        return 0
    if options.report:
        report(out, last)
        return 0
    return launch(out, runs, how, options.watch, last, anew=options.anew)


def retry(options: argparse.Namespace, last: int) -> int:
    """Launch the failed and the stopped runs of a folder again, as they were launched last. Their configurations, for
    which their agents would be imported, are left to their own processes.
    """
    refuse_all_but(options, OF_RETRYING, "does not go with --retry-failed: runs are made as they were")
    again: list[tuple[Path, list[RunSpec], How]] = []
    code = 0
    for out in status.folders(options.out, options.suite):
        damage: list[str] = []
        states = status.run_states(out, damage.append)
        runs = [as_it_is(run.spec) for run in states if run.state in status.NOT_WELL]
        for reason in damage:
            console.print(f"damaged, and left out: {reason}", markup=False, soft_wrap=True)
        code = max(code, int(bool(damage)))
        if waiting := sum(run.state == "planned" for run in states):
            console.print(
                f"{out}: {waiting} runs are in no queue and not begun; the suite's command, given again, does them",
                markup=False,
                soft_wrap=True,
            )
        if not runs:
            console.print(f"{out}: no run failed", markup=False)
            continue
        before = read_launches(out)[-1].about
        how = dataclasses.replace(how_to_launch(options, 1), **given_before(before, options))
        if how.launcher != "slurm":
            refuse(options, OF_SLURM, f"is for Slurm, and the runs of {out} are launched by --launcher={how.launcher}")
        again.append((out, runs, how))
    for out, runs, how in again:
        code = max(code, launch(out, runs, how, options.watch, last, is_done=Run.says_done))
    return code


def as_it_is(spec: RunSpec) -> RunSpec:
    """A run with its agent's files as they are now: who launches what failed again has perhaps mended them."""
    there = Path(spec.agent).is_file()
    return dataclasses.replace(spec, code=digests(files_on_disk(spec.agent))) if spec.code and there else spec


def launch(
    out: Path,
    specs: list[RunSpec],
    how: How,
    watch: bool = False,
    last: int = 1,
    is_done: Callable[[Run], bool] = Run.is_done,
    anew: bool = False,
) -> int:
    """Do the runs that are not done, or submit them to a cluster; report, say what failed, return the exit code. With
    `anew` all are done, and what their folders hold is moved aside once nothing more is to be refused.

    A run whose records `is_done` finds damaged, whose agent's file is gone, or whose data cannot be had, fails alone.
    """
    waiting: list[Run] = []
    done: list[Run] = []
    refused: dict[Path, str] = {}
    for run in map(Run, specs):
        try:
            if run.spec.agent.endswith(".py") and not Path(run.spec.agent).is_file():
                refused[run.path] = f"no agent file at {run.spec.agent}"
            else:
                (waiting if anew or not is_done(run) else done).append(run)
        except Damaged as error:
            refused[run.path] = error.brief
    check_disk(waiting, out, how.at_once)
    make_folder(out)
    for run in map(Run, specs):
        if run.path in refused:
            record_death(run.spec, refused[run.path])
    if done:
        console.print(f"{len(done)} of {len(specs)} runs are finished already")
    print_other_code(done)
    if waiting:
        print_origins([run.spec for run in waiting])
        print_starts([run.spec for run in waiting])
    if how.launcher == "slurm":
        slurm.check_cluster(how.cluster, out)
    refused |= prepare(waiting)
    for run in waiting:
        if run.path in refused:
            record_death(run.spec, refused[run.path])
    outcomes = [Outcome(path, reason) for path, reason in refused.items()]
    ready = [run.spec for run in waiting if run.path not in refused]
    if how.launcher == "slurm":
        submit(out, specs, ready, how, anew)
        if not watch:
            return print_outcomes(outcomes)
        code = status.show(out, console, watch=True)
        code = max(code, report_if_possible(out, last))
        return max(code, print_outcomes(outcomes))
    if anew:
        begin_anew(ready)
    if ready:
        outcomes += run_here(out, specs, ready, how)
        film(out, specs)
    code = report_if_possible(out, last)
    return max(code, print_outcomes(outcomes))


def film(out: Path, specs: list[RunSpec]) -> None:
    """Film the runs of a suite that is filmed."""
    filmed = [spec for spec in specs if spec.suite in SUITES and SUITES[spec.suite].filmed]
    for line in film_together(filmed, out):
        console.print(line, markup=False, soft_wrap=True)


def report_if_possible(out: Path, last: int) -> int:
    """Report; where that cannot be written say so, and return 1: how the runs ended is still to be told."""
    try:
        report(out, last)
    except (UserError, OSError) as error:
        console.print(f"no report: {error}", markup=False, soft_wrap=True)
        return 1
    return 0


def run_here(out: Path, runs: list[RunSpec], ready: list[RunSpec], how: How) -> list[Outcome]:
    """Do runs on this machine; a launch on record, which --status reads and --cancel ends."""
    if how.launcher == "debug":
        return run_in_this_process(ready)
    record = begin(out, runs, how)
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        with record.lock:
            return run_locally(
                ready,
                console,
                runs_per_process=how.runs_per_process,
                jobs=how.jobs,
                timeout=how.timeout,
                logs=record.folder,
            )
    finally:
        signal.signal(signal.SIGTERM, before)


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def begin(out: Path, runs: list[RunSpec], how: How) -> Launch:
    """Put a launch on record."""
    options = dataclasses.asdict(how)
    return Launch.begin(out, runs, options.pop("launcher"), options)


def submit(out: Path, runs: list[RunSpec], ready: list[RunSpec], how: How, anew: bool = False) -> None:
    """Submit the runs that are not in Slurm's queue already; with `anew` they must not be. Raises a UserError where one
    is in the queue as another experiment.
    """
    busy: dict[Path, RunSpec] = {}
    if read_launches(out):
        busy = {run.path: run.spec for run in status.run_states(out) if run.state in ("queued", "running")}
    if not anew:
        ready = [spec for spec in ready if not Run(spec).says_done()]  # some are done since they were planned
    chosen = [spec for spec in ready if spec.path not in busy]
    if anew and len(chosen) < len(ready):
        raise UserError(f"{len(ready) - len(chosen)} runs are queued or running: --cancel them before --anew")
    for spec in ready:
        if spec.path in busy:
            refuse_another_in_the_queue(busy[spec.path], spec)
    if len(chosen) < len(ready):
        console.print(f"{len(ready) - len(chosen)} runs are queued or running already")
    if not chosen:
        return
    most = slurm.limits(how.cluster)
    size = slurm.runs_per_job(len(chosen), how.runs_per_job, how.runs_per_process * how.in_a_job, most)
    if anew:
        begin_anew(chosen)
    record = begin(out, runs, how)
    index = {spec.path: i for i, spec in enumerate(runs)}
    record.about["submitted"] = [index[spec.path] for spec in chosen]
    record.save()
    job = slurm.RunsJob(how.runs_per_process, how.jobs, how.timeout, how.cluster.signal_delay)
    slurm.submit(
        *(record, chosen, how.cluster, job, size, most),
        on_array=lambda array: console.print(f"submitted array {array.job}: {array.jobs} jobs, {array.count} runs"),
    )
    console.print(
        f"submitted {len(chosen)} runs, {size} to a job; logs: {record.folder}\n"
        f"follow them: python run_all.py --status --watch --out={out}",
        soft_wrap=True,
    )


def refuse_another_in_the_queue(queued: RunSpec, asked: RunSpec) -> None:
    """Raise a UserError where the run that is queued for a folder, and may not have begun, is not what is asked."""
    if differing := differences(Run(queued).config, Run(asked).config):
        raise UserError(
            f"{asked.path} is queued or running as another configuration ({'; '.join(differing)}); "
            "--cancel it before, or choose another --out"
        )


def prepare(runs: list[Run]) -> dict[Path, str]:
    """Make or fetch the data of the runs; return why, by their folders, for those whose data cannot be had.

    Runs on one file are asked about together, but those that were begun apart from those that were not: a file of
    other versions is right for a run that began with it, and for no other.
    """
    together: dict[tuple[Path | None, str | None], list[Run]] = {}
    for run in runs:
        if run.spec.protocol.steps:
            recorded = run.recorded_data if run.spec.data else None
            together.setdefault((run.data_path, recorded), []).append(run)
    reasons: dict[Path, str] = {}
    for alike in together.values():
        try:
            alike[0].ensure_data()
        except (UserError, RuntimeError, OSError) as error:
            reasons |= dict.fromkeys([run.path for run in alike], f"no data: {summary(error)}")
            console.print(f"{summary(error)}; the other runs go on")
    return reasons


def report(out: Path, last: int = 1) -> None:
    """Print the summary of a folder of runs, and write its tables, figures and page, of the last `last` evaluations."""
    from analysis import comparable, load_runs
    from analysis.page.writing import write_folder
    from analysis.tabulating.runs import print_summary

    started = time.perf_counter()
    found = comparable(load_runs(out), last=last)
    if not found.evaluations.empty:
        print_summary(found)
    for note in found.notes:
        console.print(f"note: {printable(note)}", markup=False)
    if found.evaluations.empty:
        console.print("no finished run to report yet")
        return
    paths = write_folder(found, out / "report", title=f"Benchmark report: {out.name}")
    console.print(f"written in {time.perf_counter() - started:.0f} s:")
    for path in paths:
        console.print(f"  {path}", markup=False, soft_wrap=True)


def print_outcomes(outcomes: list[Outcome]) -> int:
    """Say what failed, last, each reason once, and return the exit code."""
    busy = [outcome for outcome in outcomes if outcome.busy]
    if busy:
        console.print(f"{len(busy)} runs are left to another process that is at them")
    failed: dict[str, list[Path]] = {}
    for outcome in outcomes:
        if outcome.reason and not outcome.busy:
            failed.setdefault(outcome.reason, []).append(outcome.path)
    for reason, paths in failed.items():
        which = str(paths[0]) if len(paths) == 1 else f"{len(paths)} runs, the first {paths[0]}"
        log = paths[0] / "log.txt"
        console.print(
            f"failed: {which}: {reason}" + (f" (log: {log})" if log.exists() else ""), markup=False, soft_wrap=True
        )
    return 1 if failed else 0
