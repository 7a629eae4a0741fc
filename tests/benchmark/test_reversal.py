"""The picture of flow reversal: trajectories of a trained policy."""

import jax.numpy as jnp
import numpy as np
import pytest

from agents.rql import reverse
from benchmark.common.errors import UserError
from benchmark.loop import reversal


def field(x, f):
    return jnp.tanh(x) * (1 + f)


def test_reversed_trajectories_are_rqls_reversal_at_every_depth_of_the_grid():
    actions = jnp.asarray(np.random.default_rng(0).uniform(-1, 1, (5, 2)), jnp.float32)
    backward, _ = reversal.trajectories(field, actions, 4)
    np.testing.assert_array_equal(backward[:, 0], actions)
    noise, _ = reverse(field, actions, jnp.ones((5, 1)), 4)
    np.testing.assert_allclose(backward[:, 4], noise, rtol=1e-5)


def test_forward_starts_at_the_noise_and_returns_to_the_action_as_steps_get_small():
    actions = jnp.asarray([[0.3, -0.6]])
    gaps = []
    for steps in (4, 64):
        backward, forward = reversal.trajectories(field, actions, steps)
        np.testing.assert_array_equal(forward[:, 0], backward[:, -1])
        gaps.append(np.abs(forward[:, -1] - actions).max())
    assert gaps[1] < gaps[0] / 8


def test_a_folder_that_is_no_run_is_named(tmp_path):
    with pytest.raises(UserError, match="is not the folder of a run"):
        reversal.load_run(tmp_path)
