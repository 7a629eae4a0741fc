"""Six consecutive updates of every algorithm equal those of the authors' own classes, in float64.

The vectors of one loss and its gradient say nothing of what goes on from one update to the next: Adam's moments and
step count, clipping before or after, which parameters a target follows, and at which updates. Their classes were
driven as their training scripts drive them, from the parameters, batches and noise that `inputs` makes; what their
`update` logged and two sums over each network, before and after the tracking of targets, are in the data file.
"""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agents.bam import BAM
from agents.base import Agent, Batch
from agents.cgql import CGQL, CGQLL, CGQLM
from agents.dac import DAC
from agents.dsrl import DSRL
from agents.fawac import FAWAC
from agents.fbrac import FBRAC
from agents.fedit import FEdit
from agents.fql import FQL
from agents.ifql import IFQL
from agents.qam import QAM, QAME, QAMF
from agents.qsm import QSM
from agents.rebrac import ReBRAC
from agents.rql import RQL
from envs.data.samplers import trajectory_batch
from tests.helpers import conformance as c

UPDATES = 6
B, O, D, H = 4, 5, 3, 2
COMMON = dict(
    **dict(learning_rate=3e-3, discount=0.97, target_rate=0.05, pessimism=0.5),
    **dict(chunk_length=H, batch_size=B, hidden=(8, 8), ensemble=3),
)
CASES: dict[type[Agent], dict] = {
    RQL: dict(alpha=3.0, expectile=0.7, ema_rate=0.02),
    ReBRAC: dict(alpha=0.03, actor_noise=0.4),
    FBRAC: dict(alpha=0.3),
    BAM: dict(inv_temp=10.0),
    FQL: dict(alpha=30.0),
    FAWAC: dict(inv_temp=0.8),
    CGQL: dict(inv_temp=10.0, guidance_coef=0.1),
    CGQLM: dict(inv_temp=10.0, guidance_coef=0.1, noisy_coef=0.1),
    CGQLL: dict(inv_temp=10.0, guidance_coef=0.1, noisy_coef=0.1),
    DAC: dict(alpha=3.0, step_features=8),
    QSM: dict(alpha=10.0, inv_temp=3.0, step_features=8),
    DSRL: dict(noise_scale=1.4),
    FEdit: dict(edit_scale=0.3),
    IFQL: dict(expectile=0.9),
    QAM: dict(inv_temp=3.0),
    QAMF: dict(inv_temp=3.0, fql_alpha=30.0),
    QAME: dict(inv_temp=3.0, edit_scale=0.3),
}
VECTORS = json.loads((Path(__file__).parents[1] / "data" / "conformance_updates.json").read_text())


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def make(cls: type[Agent]) -> Agent:
    """An agent of the sizes above."""
    return cls(cls.Config(**COMMON, **CASES[cls]), O, D)


def parts(number: int):
    """The layers of a network of several parts, each part a number of its own."""

    def identity(path):
        part = {"trunk": 0, "head": 1, "mean": 1, "log_std": 2, "embedding": 3, "step": 3}.get(path[0], 0)
        return number + part, int(path[-1].split("_")[1]) if "_" in path[-1] and path[-1] != "log_std" else 0

    return identity


def initial_state(agent: Agent):
    """Networks filled by number in the order in which the agent names them, targets by others."""
    numbers = {name: parts(5 * i + 1) for i, name in enumerate(agent.networks())}
    return c.filled_state(agent, numbers | {f"target {name}": parts(5 * i + 3) for i, name in enumerate(numbers)})


def sequence_arrays(update: int) -> dict[str, np.ndarray]:
    """The batch of one update, of agents that sample sequences."""
    b, shift = np.arange(B), 1.3 * update
    return dict(
        observations=0.8 * np.sin(1 + 0.7 * np.arange(B * O) + shift).reshape(B, O),
        actions=0.6 * np.cos(0.3 + 1.9 * np.arange(B * H * D) + shift).reshape(B, H * D),
        rewards=-((b + update) % 4.0),
        masks=np.where((b + update) % 3 == 2, 0.0, 1.0),
        next_observations=0.7 * np.cos(2 + 0.9 * np.arange(B * O) + shift).reshape(B, O),
        valid=np.where((b + 2 * update) % 5 == 2, 0.0, 1.0),
        action_weights=np.ones((B, H * D)),
    )


def trajectory_arrays(update: int) -> dict[str, np.ndarray]:
    """Rows 0..H, step-major, of agents that sample trajectories; some end within the chunk."""
    p, shift = np.arange((H + 1) * B).reshape(H + 1, B), 1.3 * update
    return dict(
        observations=0.8 * np.sin(1 + 0.7 * np.arange((H + 1) * B * O) + shift).reshape(H + 1, B, O),
        actions=0.6 * np.cos(0.3 + 1.9 * np.arange((H + 1) * B * D) + shift).reshape(H + 1, B, D),
        rewards=-((p + update) % 4.0),
        masks=np.where((p + update) % 5 == 3, 0.0, 1.0),
        terminals=(np.arange(H + 1)[:, None] >= (np.arange(B) + update) % 5).astype(float),
    )


def batch_of(agent: Agent, update: int) -> Batch:
    """The batch of one update."""
    if agent.sampler == "trajectories":
        rows = jax.tree.map(jnp.asarray, trajectory_arrays(update))
        return trajectory_batch(**rows, discount=agent.config.discount)
    return Batch(**jax.tree.map(jnp.asarray, sequence_arrays(update)))


def sums(network: dict) -> list[float]:
    """Of the parameters in the order of the tree: a sum with changing weights, and the Euclidean norm."""
    flat = np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(network)])
    return [float(flat @ np.cos(0.37 * np.arange(flat.size) + 1)), float(np.linalg.norm(flat))]


@pytest.mark.parametrize("cls", CASES, ids=lambda cls: cls.name)
def test_six_updates_equal_those_of_the_authors_classes(cls):
    agent = make(cls)
    state, drawn = initial_state(agent), {}

    @jax.jit
    def update(state, batch, noise):
        agent.draw_noise = lambda rng, batch_size: noise
        return agent.update(state, batch)

    for number, expected in enumerate(VECTORS[cls.name]):
        drawn = c.fill_noise(agent.draws(B), start=23 * number)
        state, metrics = update(state, batch_of(agent, number), drawn)
        assert set(expected["params"]) == set(state.params) and set(expected["targets"]) == set(state.targets)
        for name, value in expected["losses"].items():
            np.testing.assert_allclose(metrics[name], value, rtol=1e-10, err_msg=f"update {number + 1}: {name}")
        for kind in ("params", "targets"):
            for name, (weighted, norm) in expected[kind].items():
                found, where = sums(getattr(state, kind)[name]), f"update {number + 1}: {kind} of {name}"
                np.testing.assert_allclose(found, [weighted, norm], rtol=0, atol=1e-10 * norm, err_msg=where)
    assert len(VECTORS[cls.name]) == UPDATES
