"""Episodes that were played, played again before a camera.

An episode depends on its identity and its actions alone, so the same actions give the same episode, to the bit. A
process of its own plays it: what draws (`envs.play.renderer`) must be chosen before MuJoCo is loaded, and a fault in a
graphics driver ends that process and no other. This module does not import JAX.

Started as `python -m envs.play.camera FD`, FD being one end of a socket pair.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import subprocess
import sys
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import Any, Protocol

import gymnasium
import numpy as np

from benchmark.common.errors import UserError, check_choice, summary
from envs.data.environment import make_env, quietly
from envs.play.pool import worker_environment
from envs.play.renderer import choose_renderer
from envs.play.worker import reset_episode, task_number
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
                [sys.executable, "-W", "ignore", "-m", "envs.play.camera", str(theirs.fileno())],
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


# ------------------------------------------------------------------------------------- in the process that renders


def play_again(env: gymnasium.Env, episode: Episode, every: int, task_id: int | None, view: View) -> Iterator[Moment]:
    """See `Camera.show`. The episode is over where the environment or the actions end."""
    reset_episode(env, episode.identity, task_id)
    yield Moment(draw(env, view.camera), 0, 0.0, 0.0, False)
    actions = np.clip(np.asarray(episode.actions, np.float32), -1.0, 1.0)  # as the pool gives them
    total = 0.0
    for length, action in enumerate(actions, 1):
        _, reward, terminated, truncated, info = env.step(action)
        total += float(reward)
        ended = terminated or truncated or length == len(actions)
        if ended or length % every == 0:
            yield Moment(draw(env, view.camera), length, total, float(info["success"]), ended)
        if ended:
            return


def draw(env: gymnasium.Env, camera: str | None) -> np.ndarray:
    """What OGBench's environment shows, from its own camera or the one of that name."""
    inner: Any = env.unwrapped
    if camera is None:
        return inner.render()
    if hasattr(inner, "custom_camera"):  # a maze's
        inner.custom_camera = camera
        return inner.render()
    return inner.render(camera=camera)


def check_camera(env: gymnasium.Env, camera: str | None) -> None:
    """Raise a UserError where the environment's model has no camera of that name."""
    if camera is not None:
        model: Any = env.unwrapped.model  # type: ignore[attr-defined]
        check_choice("camera", camera, [model.camera(i).name for i in range(model.ncam)])


def steps_per_second(env: gymnasium.Env) -> float:
    """In the world's own time."""
    inner: Any = env.unwrapped
    return 1 / float(inner.dt if hasattr(inner, "dt") else inner.control_timestep)


def serve(connection: Connection) -> None:
    """Play what is asked for until the caller hangs up: first the task and the view, then episodes."""
    try:
        task, view = pickle.loads(connection.recv_bytes())
        with quietly():
            env = make_env(task, width=view.width, height=view.height)
            env.reset()  # compiles the model
        check_camera(env, view.camera)
        connection.send((steps_per_second(env), None))
        while True:
            episode, every = connection.recv()
            for moment in play_again(env, episode, every, task_number(task.name), view):
                connection.send((moment, None))
    except (EOFError, OSError):
        return
    except UserError as error:
        connection.send((None, str(error)))
    except Exception as error:
        traceback.print_exc()
        connection.send((None, summary(error)))


if __name__ == "__main__":
    serve(Connection(int(sys.argv[1])))
    os._exit(0)  # what is drawn with is freed by the system; taken down by Python, it would complain
