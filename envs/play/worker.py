"""The worker side of `envs.play.pool`: one process makes the environment, its forked children step it.

Making a manipulation environment takes seconds and 160 MB of meshes, and an environment cannot be copied. So
one clean process, the *nursery*, makes it once and forks a child for each slot: a child starts in
milliseconds, shares the meshes copy-on-write and owns everything that changes. The nursery is a fresh
interpreter because a caller that runs JAX has threads and must not be forked.

Started by `envs.play.pool` as `python -m envs.play.worker FD`, FD being one end of a socket pair.
Everything here ends when the caller goes away, however it dies: the sockets then read end-of-file.
"""

from __future__ import annotations

import gc
import os
import re
import signal
import sys
import traceback
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection
from multiprocessing.reduction import recv_handle
from typing import Any

import gymnasium
import numpy as np

from envs.data.temporary import models_removed
from envs.ogbench.lean import known, make_lean, observe


def make_task_env(task_name: str) -> gymnasium.Env:
    """Make OGBench's environment of that name, e.g. 'cube-single-play-singletask-task1-v0'."""
    import ogbench  # noqa: PLC0415  (loads MuJoCo, which other factories do without)

    # gymnasium's checker inspects every observation, which costs time and never changes a result.
    with models_removed():
        return ogbench.make_env_and_datasets(task_name, env_only=True, disable_env_checker=True)


def reset_episode(env: gymnasium.Env, episode: Sequence[int], task_id: int | None) -> np.ndarray:
    """Reset `env` so that what follows depends on `episode` alone, and return its first observation.

    Args:
        env: a gymnasium environment that has been reset before (a first reset may compile the model).
        episode: non-negative integers that name the episode: (run seed, step, episode index).
        task_id: which of the environment's tasks to play; None leaves it to the environment.
    """
    words = [int(word) for word in np.random.SeedSequence(list(episode)).generate_state(3)]
    np.random.seed(words[0])  # the mazes place the agent with numpy's global generator
    _seed_sampled_actions(env.unwrapped, words[1])  # OGBench's resets take a few steps with sampled actions
    observation, _ = env.reset(seed=words[2], options=None if task_id is None else {"task_id": task_id})
    return np.asarray(observation, np.float32)


def _seed_sampled_actions(env: gymnasium.Env, seed: int) -> None:
    """Seed what `env.action_space.sample()` gives.

    OGBench's manipulation environments make a new space, with a seed of the system's, whenever they are asked for it.
    The five steps which their reset takes with such actions leave the solver's warm start and contact forces behind:
    differences that grow from the last digit until an episode ends otherwise. So such an environment is made to keep
    the space that it gave first.
    """
    space = env.action_space
    if space is not env.action_space:
        kind = type(env)
        env.__class__ = type(kind.__name__, (kind,), {"action_space": space})
    space.seed(seed)


def play_slot(connection: Connection, env: gymnasium.Env, task_id: int | None) -> None:
    """Step `env` as the caller asks until it hangs up.

    A request is `(actions, episode)`: actions (H, d) to execute open loop, stopping where the episode ends,
    or None to abandon what is under way; and the episode to start after that, or None.
    The reply is `(observation, outcome, error)`: outcome is (success, return, length, parts) of an episode
    that ended here, else None; error is a traceback's text, else None.
    """
    observation, total, length = None, 0.0, 0
    while True:
        try:
            actions, episode = connection.recv()
        except (EOFError, OSError):
            return
        outcome = error = None
        try:
            done = actions is None
            for left in () if actions is None else range(len(actions) - 1, -1, -1):
                observe(env, left == 0)
                raw, reward, terminated, truncated, info = env.step(actions[-1 - left])
                total, length = total + float(reward), length + 1
                done = terminated or truncated
                if done:
                    outcome = (float(info["success"]), total, length, parts_at_end(env, known(env) | info))
                    break
            if not done:
                observation = np.asarray(raw, np.float32)
            if done and episode is not None:
                observation, total, length = reset_episode(env, episode, task_id), 0.0, 0
        except Exception:
            error = traceback.format_exc()
        try:
            connection.send((observation, outcome, error))
        except OSError:
            return


PARTS = {"block": r"privileged/block_(\d+)_pos", "button": r"privileged/button_(\d+)_state"}
PARTS |= {"drawer": r"privileged/drawer_pos()", "window": r"privileged/window_pos()"}
"""What a manipulation task of OGBench may ask for, in the environment's own order, by what `info` has of it."""


def parts_at_end(env: gymnasium.Env, info: Mapping[str, Any]) -> dict[str, float]:
    """Whether each thing that a task asks for is so, 0 or 1, by a name such as "block 0" or "drawer": OGBench's
    manipulation tasks alone know it; {} for others. Where the episode was solved all are: success is read one action
    earlier.
    """
    ask = getattr(env.unwrapped, "_compute_successes", None)
    matches = [(kind, re.fullmatch(pattern, key)) for kind, pattern in PARTS.items() for key in info]
    names = [f"{kind} {match[1]}".strip() for kind, match in matches if match]
    if ask is None or not names:
        return {}
    so = [bool(value) for part in ask() for value in np.ravel(part)]
    solved = float(info["success"]) == 1
    return (
        {name: float(solved or value) for name, value in zip(names, so, strict=True)} if len(so) == len(names) else {}
    )


def run_nursery(control: Connection) -> None:
    """Make the environment, report on `control`, then fork one slot for each socket received on it.

    First message in: (factory, task_name, max_episode_steps). First message out: None, or the text of
    the traceback if the environment could not be made. Then, for each socket: the child's process id.
    When the caller hangs up, all children are killed.
    """
    try:
        factory, task_name, max_episode_steps = control.recv()
        env = make_task_env(task_name) if factory is None else factory()
        if max_episode_steps is not None:
            env = gymnasium.wrappers.TimeLimit(env, max_episode_steps)
        task_id = task_number(task_name)
        make_lean(env)
        env.reset()  # compiles the model, before the forks
    except EOFError:
        return
    except Exception:
        control.send(traceback.format_exc())
        return
    control.send(None)
    gc.collect()
    gc.freeze()  # else the children's collector would touch, and so copy, every shared page
    children: list[int] = []
    try:
        while True:
            connection = Connection(recv_handle(control))
            children.append(_fork_slot(control, connection, env, task_id))
            connection.close()  # the slot alone holds it, so that its death reads as end-of-file
            control.send(children[-1])
    except (EOFError, OSError):
        pass
    finally:
        for child in children:  # never reaped before this point, so no id can have been reused
            os.kill(child, signal.SIGKILL)
        for child in children:
            os.waitpid(child, 0)


def task_number(task_name: str) -> int | None:
    """Return k for a name that holds 'task{k}' as one of its parts, else None."""
    match = re.search(r"-task(\d+)(-|$)", task_name)
    return int(match.group(1)) if match else None


def _fork_slot(control: Connection, connection: Connection, env: gymnasium.Env, task_id: int | None) -> int:
    """Play the slot of `connection` in a forked child and return the child's id; the child never returns."""
    child = os.fork()
    if child:
        return child
    try:
        control.close()
        play_slot(connection, env, task_id)
    finally:
        os._exit(0)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the caller's to handle
    run_nursery(Connection(int(sys.argv[1])))
