"""RQL with other depths of reversal: the shares are the ones asked for, and at one half it is RQL."""

import jax.numpy as jnp
import numpy as np
import pytest

from agents.rql import RQL
from benchmark.common.machine import ROOT
from benchmark.planning.configure import configure
from benchmark.planning.registry import agent_class

B, F = 64, 10


def agent(continuous):
    cls = agent_class(str(ROOT / "examples" / "reversal_depths.py"))
    return cls(configure(cls, {"continuous": continuous, "hidden": (8,), "batch_size": B}), 3, 2)


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
