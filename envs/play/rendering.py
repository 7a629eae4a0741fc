"""The side of `envs.play.camera` that plays and draws.

Started as `python -m envs.play.rendering FD`, FD being one end of a socket pair, with MUJOCO_GL set.
"""

from __future__ import annotations

import os
import pickle
import sys
import traceback
from collections.abc import Iterator
from multiprocessing.connection import Connection
from typing import Any

import gymnasium
import numpy as np

from benchmark.common.errors import UserError, check_choice, summary
from envs.data.environment import make_env, quietly
from envs.play.camera import Episode, Moment, View
from envs.play.worker import reset_episode, task_number


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


SHADOWS = 1024
"""Side of the map of shadows, in pixels. OGBench's 4096 look no other at these sizes, and take half the time where
software draws.
"""


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
    return 1 / float(inner.dt if hasattr(inner, "dt") else inner.control_timestep())


def serve(connection: Connection) -> None:
    """Play what is asked for until the caller hangs up: first the task and the view, then episodes."""
    try:
        task, view = pickle.loads(connection.recv_bytes())
        with quietly():
            env = make_env(task, width=view.width, height=view.height)
            env.reset()  # compiles the model
        check_camera(env, view.camera)
        env.unwrapped.model.vis.quality.shadowsize = SHADOWS  # before the first picture, at which its memory is taken
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
