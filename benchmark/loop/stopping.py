"""Signals that ask runs to save and stop."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator

STOP_SIGNAL = signal.SIGUSR2
"""Asks a run to save a checkpoint after its next row and to stop; Slurm sends it before a job's time is up."""
STOP_SIGNALS = (STOP_SIGNAL, signal.SIGTERM)
"""SIGTERM asks the same: Slurm sends it to what it cancels or preempts."""

stop_asked = threading.Event()
"""Whether one of them came."""


def heed_stop_signals() -> None:
    """From here on the signals set `stop_asked`, and end nothing."""
    for number in STOP_SIGNALS:
        signal.signal(number, lambda *_: stop_asked.set())


@contextlib.contextmanager
def stop_signals_heeded() -> Iterator[None]:
    """Within, the signals set `stop_asked`, and end nothing."""
    before = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    heed_stop_signals()
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        stop_asked.clear()


@contextlib.contextmanager
def signals_for_this_process_alone() -> Iterator[None]:
    """Processes started within never see the signals that ask to stop, which Slurm sends to all processes of a job:
    what steps the environments is still needed to save.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
