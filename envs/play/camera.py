"""Episodes that were played, played again before a camera.

An episode depends on its identity and its actions alone, so the same actions give the same episode, to the bit. A
process of its own plays it: what draws (`envs.play.renderer`) must be chosen before MuJoCo is loaded, and a fault in a
graphics driver ends that process and no other (`envs.play.rendering`). This module does not import JAX.
"""

from __future__ import annotations

import contextlib
import pickle
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing import Pipe
from typing import Any, Protocol

import numpy as np

from benchmark.common.errors import UserError
from envs.play.pool import worker_environment
from envs.play.renderer import choose_renderer
from envs.tasks import Task

REPLY_SECONDS = 600.0
"""After so many without a reply the process counts as failed."""


@dataclass(frozen=True)
class Episode:
    """An episode that was played."""

    identity: tuple[int, int, int]
    """Run seed, step, index of the episode."""
    actions: np.ndarray
    """(n, d), at least as many as it has steps."""


@dataclass(frozen=True)
class View:
    """How it is looked at; the defaults are OGBench's."""

    width: int = 200
    height: int = 200
    """In pixels."""
    camera: str | None = None
    """One of the model's; None: manipulation from the front, mazes from above."""


@dataclass(frozen=True)
class Moment:
    """A state of an episode."""

    frame: np.ndarray
    """(height, width, 3) uint8."""
    length: int
    """Steps so far."""
    total: float
    """Rewards so far."""
    success: float
    """0 to 1, of the last step; 0 before the first."""
    ended: bool


class Camera(Protocol):
    """What plays episodes again."""

    @property
    def rate(self) -> float:
        """Steps per second, in the world's own time."""

    def show(self, episode: Episode, every: int = 1) -> Iterator[Moment]:
        """The states before the first step, after each `every`-th, and after the last.

        Raises a UserError where it cannot be played or drawn.
        """

    def close(self) -> None:
        """End."""


class SimulatorCamera:
    """A simulator's camera, in a process of its own."""

    def __init__(self, task: Task, view: View):
        """Start the process; the environment is made meanwhile. Raises a UserError where nothing here can render."""
        renderer = choose_renderer()
        self.task = task
        self.connection, theirs = Pipe()
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-W", "ignore", "-m", "envs.play.rendering", str(theirs.fileno())],
                env=worker_environment() | {"MUJOCO_GL": renderer},
                pass_fds=[theirs.fileno()],
            )
        self.connection.send_bytes(pickle.dumps((task, view)))
        self._rate: float | None = None

    @property
    def rate(self) -> float:
        """See `Camera.rate`; waits for the environment."""
        if self._rate is None:
            self._rate = self._receive()
        return self._rate

    def show(self, episode: Episode, every: int = 1) -> Iterator[Moment]:
        """See `Camera.show`."""
        assert self.rate
        self.connection.send((episode, every))
        while True:
            moment = self._receive()
            yield moment
            if moment.ended:
                return

    def _receive(self) -> Any:
        try:
            if not self.connection.poll(REPLY_SECONDS):
                raise UserError(f"{self.task.name} cannot be filmed: no reply for {REPLY_SECONDS:g} s")
            answer, error = self.connection.recv()
        except (EOFError, OSError):
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(1)
            code = self.process.returncode
            raise UserError(
                f"{self.task.name} cannot be filmed: the process that renders died (exit status {code}); its output on "
                "stderr may say why"
            ) from None
        if error is not None:
            raise UserError(f"{self.task.name} cannot be filmed: {error}")
        return answer

    def close(self) -> None:
        """See `Camera.close`."""
        self.connection.close()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
