"""Every algorithm's loss and gradients equal the authors' numbers, in float64."""

import jax
import numpy as np
import pytest

from agents.fql import FQL
from agents.ifql import IFQL
from agents.rql import RQL, reverse
from envs.data.samplers import trajectory_batch
from tests.helpers import conformance as c

SEQUENCE_CASES = {
    "FQL": (
        FQL,
        dict(alpha=30.0),
        {"critic": 1, "target critic": 2, "flow": 4, "one_step": 6},
        {
            "TD": "critic_loss",
            "FM": "flow_loss",
            "distill": "distillation_loss",
            "actor total": lambda m: m["flow_loss"] + 30 * m["distillation_loss"] + m["q_loss"],
        },
        {"one-step": "one_step"},
    ),
    "IFQL": (
        IFQL,
        dict(expectile=0.9),
        {"value": 3, "critic": 1, "target critic": 2, "flow": 4},
        {"V": "value_loss", "TD": "critic_loss", "FM": "flow_loss"},
        {"V": "value"},
    ),
}


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


@pytest.mark.parametrize("name", SEQUENCE_CASES)
def test_loss_and_gradients_equal_the_authors(name):
    cls, settings, numbers, metrics_of, networks_of = SEQUENCE_CASES[name]
    agent = cls(cls.Config(**c.COMMON, **settings), c.O, c.D)
    found = c.errors(agent, numbers, c.sequence_batch(), c.VECTORS[name], metrics_of, networks_of)
    assert max(found.values()) < c.PRECISION, found


def rql_actor(path):
    """The authors split RQL's actor into a trunk (23) and a mean head (24)."""
    layer = int(path[-1].split("_")[1])
    return (24, 0) if layer == 2 else (23, layer)


RQL_NUMBERS = {"value": 21, "target value": 22, "actor": rql_actor, "target actor": rql_actor}


def rql_batch(distances=(1, 2, 3, 9, 9, 2)):
    return trajectory_batch(**jax.tree.map(jax.numpy.asarray, c.trajectory_rows(distances)), discount=0.99)


def test_rql_loss_and_gradients_equal_the_authors():
    agent = RQL(RQL.Config(**c.COMMON, alpha=3.0, expectile=0.7), c.O, c.D)
    found = c.errors(
        agent,
        RQL_NUMBERS,
        rql_batch(),
        c.VECTORS["RQL"],
        {"V": "value_loss", "BC": "cloning_loss", "π": "improvement_loss"},
        {},
    )
    assert max(found.values()) < c.PRECISION, found


def test_reversal_accumulates_the_authors_flow_times():
    expected = [
        1,
        0.9000001,
        0.8000002,
        0.7000003,
        0.5999998,
        0.4999999,
        0.4,
        0.3000001,
        0.2,
        0.0999998,
        -7.45e-8,
    ]
    with jax.enable_x64(False):
        depth = jax.numpy.arange(11, dtype="float32")[:, None] / 10
        _, f = reverse(lambda x, f: 0 * x, jax.numpy.zeros((11, 2)), depth, 10)
    np.testing.assert_allclose(f[:, 0], expected, atol=5e-7)
