"""Evaluation leaves out of OGBench's environments what it does not read, and nothing else."""

import numpy as np
import pytest

from envs.ogbench.lean import NOT_READ, is_lean, known, make_lean, observe
from envs.play.worker import make_task_env, parts_at_end, reset_episode, task_number

STEPS, CHUNK = 30, 5
PRESSED = range(8, 18)
"""Steps at which a force holds a button down, where there are buttons."""


def played(env, task):
    """Of an episode of random actions: each step's outcome, the observations after each chunk, the states, `info`."""
    outcomes, states = [], []
    observations = [reset_episode(env, (3, 4800, 7), task_number(task))]
    inner, random = env.unwrapped, np.random.default_rng(1)
    for step in range(STEPS):
        if getattr(inner, "_num_buttons", 0):
            button = inner.model.joint("buttonbox_joint_0").dofadr[0]
            inner.data.qfrc_applied[button] = -100 if step in PRESSED else 0
        observe(env, step % CHUNK == CHUNK - 1)
        observation, reward, ended, cut, info = env.step(random.uniform(-1, 1, 5).astype(np.float32))
        outcomes.append((float(reward), bool(ended), bool(cut), float(info["success"])))
        states.append([inner.data.qpos.copy(), inner.data.qvel.copy(), inner.data.ctrl.copy()])
        states[-1].append(np.array(getattr(inner, "_cur_button_states", [])))
        if step % CHUNK == CHUNK - 1:
            observations.append(np.asarray(observation, np.float32))
        elif is_lean(env):
            assert observation is NOT_READ and list(info) == ["success"]
    return outcomes, observations, states, known(env) | info


@pytest.mark.parametrize(
    "task",
    ["cube-double-play-singletask-task2-v0", "scene-play-singletask-task4-v0", "puzzle-3x3-play-singletask-task1-v0"],
)
def test_a_lean_environment_is_the_same_to_the_bit(task):
    env = make_task_env(task)
    env.reset()
    outcomes, observations, states, info = played(env, task)
    make_lean(env)
    kind = type(env.unwrapped)
    make_lean(env)
    assert type(env.unwrapped) is kind, "once is enough"
    again, observed, found, kept = played(env, task)
    assert again == outcomes
    np.testing.assert_array_equal(observed, observations)
    for at, expected in zip(found, states, strict=True):
        for array, first in zip(at, expected, strict=True):
            np.testing.assert_array_equal(array, first)
    assert parts_at_end(env, kept) == parts_at_end(env, info) != {}
    assert list(kept) == list(info)
    for name in info:
        np.testing.assert_array_equal(kept[name], info[name])
    if states[0][3].size:
        assert len({tuple(state[3]) for state in states}) > 1, "no button was pressed"


def test_other_environments_stay_as_they_are():
    env = make_task_env("pointmaze-medium-navigate-singletask-task2-v0")
    kind = type(env.unwrapped)
    make_lean(env)
    observe(env, False)
    assert type(env.unwrapped) is kind and known(env) == {}
