"""Doing runs: one, or several one after the other for a launcher, which learns how each ended.

A worker answers signals that ask it to stop from its start on, so what loads JAX, which takes seconds, is imported
where a run is trained.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence

from benchmark.common.errors import Stopped, UserError, summary
from benchmark.common.options import Parser
from benchmark.loop.stopping import heed_stop_signals, stop_asked
from benchmark.planning.run import Run
from benchmark.runs import provenance
from benchmark.runs.code import own_files
from benchmark.runs.record import Busy, RunDirectory
from benchmark.runs.run import RunSpec


def execute(spec: RunSpec, quiet: bool = False) -> None:
    """Do a run, from its start or its last checkpoint. What goes wrong is recorded in its status and raised."""
    run = Run(spec)
    run.refuse_changed_agent()
    asked, _ = run.config, run.data_path  # where these cannot be is said before a folder is made for the run
    with run.directory as directory:
        run.refuse_other_data()  # before more updates are noted as asked for
        directory.check_config(asked, own_files(spec.agent))
        if directory.status.get("state") == "done":
            other = run.other_code()
            print(f"{run.path} is finished already" + (f" (made by {other})" if other else ""))
            return
        with early_end_recorded(f"{spec.label} on {spec.task}", directory):
            train_run(run, quiet)


def train_run(run: Run, quiet: bool) -> None:
    """Do what is left of a run whose folder is open."""
    spec, directory = run.spec, run.directory
    if spec.protocol.steps == 0:
        directory.add_start({**provenance.where(spec.agent), "hyperparameters": spec.origins})
        directory.set_status(state="done", step=0, steps=0, diverged={}, error=None)
        return
    from benchmark.loop.running import train

    train(run, quiet)


@contextlib.contextmanager
def early_end_recorded(what: str, *directories: RunDirectory) -> Iterator[None]:
    """What ends `what` early is recorded in the status of its folders, and raised."""
    state, error = "failed", ""
    try:
        yield
    except (KeyboardInterrupt, Stopped) as end:
        state, error = "interrupted", str(end) or "interrupted"
        raise
    except BaseException as end:
        error = summary(end) + ("" if isinstance(end, UserError) else "\n" + traceback.format_exc())
        if isinstance(end, Exception):
            raise
        raise UserError(f"{what} ended by {summary(end)}") from end
    finally:
        for directory in directories if error else ():
            directory.record_end(state, error)


def serve(arguments: Sequence[str]) -> int:
    """How a launcher starts runs: do those of standard input, a RunSpec a line up to an empty one, and write how each
    ended to the pipe whose number is given.

    Ends at once with the launcher, which holds the other end of standard input. Returns the number of runs that failed.
    """
    parser = Parser()
    parser.add_argument("ends", type=int)
    parser.add_argument("--cores", help="the processor cores to use, separated by commas")
    options = parser.parse_args(arguments)
    if options.cores and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, [int(core) for core in options.cores.split(",")])
    heed_stop_signals()
    specs = list(_specs_of_the_launcher())
    threading.Thread(target=_end_with_the_launcher, daemon=True).start()
    os.set_inheritable(options.ends, False)
    with open(options.ends, "w") as ends:
        return execute_all(specs, lambda state, reason: print(json.dumps([state, reason]), file=ends, flush=True))


def _specs_of_the_launcher() -> Iterator[RunSpec]:
    while (line := sys.stdin.readline()) != "\n":
        if not line:
            sys.exit("the launcher is gone")
        yield RunSpec.from_json(line)


def _end_with_the_launcher() -> None:
    os.read(sys.stdin.fileno(), 1)  # returns at the end of the file; no lock of Python's is held meanwhile
    os.kill(os.getpid(), signal.SIGKILL)


def execute_all(specs: Sequence[RunSpec], on_end: Callable[[str, str], None] = lambda state, reason: None) -> int:
    """Do several runs one after the other; one that fails does not stop the rest. Returns the number that failed.

    `on_end` is told of each how it ended, "done", "failed", "busy" or "stopped", and why.
    """
    failed = 0
    for spec in specs:
        state, reason, details = "done", "", ""
        try:
            execute(spec)
        except Stopped as error:
            state, reason = "stopped", str(error)
        except Busy as error:
            state, reason = "busy", str(error)
        except Exception as error:
            failed += 1
            state, reason = "failed", summary(error)
            details = "" if isinstance(error, UserError) else traceback.format_exc()
        on_end(state, reason)  # before anything is printed, as that may go to a full disk
        with contextlib.suppress(OSError):
            _print_end(spec, state, reason, details)
        if stop_asked.is_set():
            break
    return failed


def _print_end(spec: RunSpec, state: str, reason: str, details: str) -> None:
    if reason:
        what = f"{spec.label} on {spec.task}, seeds {', '.join(map(str, spec.seeds))}"
        line = f"{'error' if state == 'failed' else state}: {what}: {reason}"
        print(f"{details}{line}", file=sys.stderr, flush=True)
