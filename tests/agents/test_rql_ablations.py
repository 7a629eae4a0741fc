"""RQL's ablations: shares of depths are the ones asked for, at one half it is RQL; acting takes the steps asked for."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agents.rql import RQL
from benchmark.common.machine import ROOT
from benchmark.planning.configure import configure
from benchmark.planning.registry import agent_class

B, F = 64, 10


def agent(continuous=0.5, **settings):
    cls = agent_class(str(ROOT / "examples" / "rql_ablations.py"))
    return cls(configure(cls, {"continuous": continuous, "hidden": (8,), "batch_size": B, **settings}), 3, 2)


def noise():
    rng = np.random.default_rng(0)
    return {"depth": jnp.asarray(rng.uniform(size=B)), "grid_depth": jnp.asarray(rng.integers(0, F + 1, B))}


@pytest.mark.parametrize("continuous", [0.0, 0.25, 0.5, 1.0])
def test_the_share_that_is_asked_for_is_not_on_the_grid(continuous):
    depths = np.asarray(agent(continuous).depths(noise())).squeeze(-1)
    off = np.abs(depths * F - np.round(depths * F)) > 1e-5
    assert off.mean() == continuous and (depths >= 0).all() and (depths <= 1).all()


def test_at_one_half_the_depths_are_rqls():
    drawn = noise()
    halves = {"depth": drawn["depth"][: B // 2], "grid_depth": drawn["grid_depth"][B // 2 :]}
    rql = RQL(configure(RQL, {"hidden": (8,), "batch_size": B}), 3, 2)
    np.testing.assert_array_equal(agent(0.5).depths(drawn), rql.depths(halves))


def test_acting_takes_as_many_steps_as_are_asked_for_whatever_training_took():
    observations, rng = jnp.ones((4, 3)), jax.random.PRNGKey(1)
    state = jax.jit(agent().init)(jax.random.PRNGKey(0))
    trained_with_3 = RQL(configure(RQL, {"hidden": (8,), "batch_size": B, "flow_steps": 3}), 3, 2)
    as_trained = RQL(configure(RQL, {"hidden": (8,), "batch_size": B}), 3, 2).act(state, observations, rng)
    np.testing.assert_array_equal(agent().act(state, observations, rng), as_trained)
    with_3 = agent(acting_steps=3).act(state, observations, rng)
    np.testing.assert_array_equal(with_3, trained_with_3.act(state, observations, rng))
    assert not np.allclose(with_3, as_trained)
