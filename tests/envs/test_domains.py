"""Every domain's environment and memory: dimensions as published, and what a million transitions need on the device."""

import os
import tempfile
from concurrent.futures import ThreadPoolExecutor

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.d4rl.antmaze import MazeAnt
from envs.data.dataset import Dataset, from_transitions
from envs.data.environment import make_env
from envs.data.temporary import models_removed
from envs.ogbench.episodes import Collector
from envs.play.worker import make_task_env
from envs.tasks import OGBENCH_DOMAINS, Task, get_domain

# Sizes of observations and actions that the algorithms' published parameter counts are for.
PUBLISHED = {
    "antmaze-large-navigate": (29, 8),
    "antmaze-giant-navigate": (29, 8),
    "humanoidmaze-medium-navigate": (69, 21),
    "humanoidmaze-large-navigate": (69, 21),
    "cube-double-play": (37, 5),
    "cube-triple-play": (46, 5),
    "cube-quadruple-play": (55, 5),
    "scene-play": (40, 5),
    "puzzle-3x3-play": (55, 5),
    "puzzle-4x4-play": (83, 5),
}


def megabytes(observation_dim: int, action_dim: int, trajectories: int = 1000, length: int = 1000) -> float:
    """What trajectories of these dimensions need on the device, without making them."""
    n = trajectories * length
    shapes = dict(observations=(n + trajectories, observation_dim), actions=(n, action_dim), rewards=(n,))
    arrays = {name: jax.ShapeDtypeStruct(shape, jnp.float32) for name, shape in shapes.items()}
    arrays["masks"] = jax.ShapeDtypeStruct((n,), jnp.bool_)
    arrays["trajectory"] = jax.ShapeDtypeStruct((n,), jnp.int32)
    arrays |= dict.fromkeys(("first", "last", "candidates"), jax.ShapeDtypeStruct((trajectories,), jnp.int32))
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(Dataset(**arrays))) / 1e6


def test_memory_is_what_the_arrays_of_a_dataset_hold():
    n, trajectories = 60, 3
    terminals = np.zeros(n)
    terminals[19::20] = 1
    data = from_transitions(np.zeros((n, 29)), np.zeros((n, 8)), np.zeros(n), np.zeros(n), terminals, np.zeros((n, 29)))
    assert data.nbytes / 1e6 == pytest.approx(megabytes(29, 8, trajectories, n // trajectories))


def test_a_million_transitions_of_any_domain_fit_on_a_small_device():
    needed = {name: megabytes(*dims) for name, dims in PUBLISHED.items()}
    for name, size in sorted(needed.items()):
        print(f"{name:30} {size:5.0f} MB")
    assert max(needed.values()) < 400


MAZE = "antmaze-medium-navigate-singletask-task1-v0"
MAKERS = {
    "to train and evaluate": lambda: make_env(Task(get_domain("antmaze-large-navigate"), 1)),
    "by OGBench's own name": lambda: make_task_env(MAZE),
    "to generate data": lambda: Collector("pointmaze-medium-navigate", 20)._env,
    "D4RL's": lambda: MazeAnt("umaze"),
}


@pytest.mark.parametrize("maker", MAKERS)
def test_a_maze_leaves_no_file_and_is_reset_and_stepped_without(maker, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    before, mkstemp = os.listdir("/proc/self/fd"), tempfile.mkstemp
    env = MAKERS[maker]()
    assert not list(tmp_path.iterdir()) and os.listdir("/proc/self/fd") == before and tempfile.mkstemp is mkstemp
    for _ in range(2):
        env.reset()
        assert np.isfinite(env.step(env.action_space.sample())[0]).all()
    env.close()


def test_files_of_others_stay_while_a_maze_is_made(tmp_path):
    def make(suffix):
        return tempfile.mkstemp(suffix, dir=tmp_path)

    with models_removed(), ThreadPoolExecutor(1) as other:
        (mine, gone), (text, kept), (handle, elsewhere) = (
            make(".xml"),
            make(".txt"),
            other.submit(make, ".xml").result(),
        )
        os.close(mine)
        mine = os.open(os.devnull, os.O_RDONLY)  # whoever closes a file may have its number given to another
    assert not os.path.exists(gone) and os.path.exists(kept) and os.path.exists(elsewhere)
    for each in (mine, text, handle):
        os.close(each)


@pytest.mark.slow
@pytest.mark.parametrize("domain", OGBENCH_DOMAINS, ids=lambda domain: domain.name)
def test_environments_have_the_published_dimensions(domain):
    env = make_env(Task(domain, 1))
    assert (env.observation_space.shape[-1], env.action_space.shape[-1]) == PUBLISHED[domain.name]
    assert env.spec.max_episode_steps == domain.episode_limit
    env.close()
