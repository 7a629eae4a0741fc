"""BDPO and Diffusion-QL: consecutive updates, and BDPO's actions, equal those of the authors' own classes, in float64.

BDPO's class is the one of github.com/typoverflow/flow-rl at bae22f4, Diffusion-QL's that of
github.com/Zhendong-Wang/Diffusion-Policies-for-Offline-RL at d871f5c, in torch. Both were driven a batch at a time with
networks of this repository's form, filled as below, and whole chunks, for they know no others. Torch's clipping, which
adds 1e-6 to the norm, was replaced by the exact one; with torch's own all agrees to 2e-9.

Their programs begin a cycle of updates with the full one and ours ends with it: BDPO's critics have one update before
the actor may move, so that both orders have their full updates at the same places.
"""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agents.alternating import AlternatingAgent
from agents.base import Batch, Draw
from agents.bdpo import BDPO
from agents.diffusion_ql import DiffusionQL
from tests.agents import test_conformance_updates as six
from tests.helpers import conformance as c

K, N = 5, 3
BDPO_SETTINGS = six.COMMON | dict(
    **dict(diffusion_steps=K, candidates=N, eta=0.7, actor_learning_rate=1e-3, behaviour_learning_rate=2e-3),
    **dict(pretraining_steps=2, critic_warmup=1, actor_every=2, decay_steps=20),
)
DIFFUSION_QL_SETTINGS = six.COMMON | dict(
    **dict(learning_rate=3e-4, ensemble=2, diffusion_steps=K, eta=0.7, gradient_norm=0.5),
    **dict(average_from=2, average_every=2),
)
CASES: dict[str, tuple[type[AlternatingAgent], dict]] = {
    "bdpo": (BDPO, BDPO_SETTINGS | dict(max_backup=True)),
    "bdpo_mean_backup": (BDPO, BDPO_SETTINGS | dict(max_backup=False)),
    "diffusion_ql": (DiffusionQL, DIFFUSION_QL_SETTINGS | dict(max_backup=False)),
    "diffusion_ql_max_backup": (DiffusionQL, DIFFUSION_QL_SETTINGS | dict(max_backup=True)),
}
VECTORS = json.loads((Path(__file__).parents[1] / "data" / "conformance_alternating.json").read_text())


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def initial_state(agent: AlternatingAgent):
    """Networks and targets filled as those of the six updates; no two are equal."""
    state = six.initial_state(agent)
    return state.replace(optimizer={name: adam.init(state.params[name]) for name, adam in agent.optimizers().items()})


def batch_of(update: int) -> Batch:
    """The batch of one update."""
    return Batch(**jax.tree.map(jnp.asarray, six.sequence_arrays(update) | {"valid": np.ones(six.B)}))


def update_of(agent: AlternatingAgent, kind: str):
    """An update of that kind under noise that is given, compiled."""

    def update(state, batch, noise):
        agent.draw_noise = lambda rng, batch_size: noise  # type: ignore[method-assign]
        return getattr(agent, kind)(state, batch)

    return jax.jit(update)


def after_updates(agent: AlternatingAgent, vectors: list[dict]):
    """Take as many updates as there are vectors, each compared with its own; the state after the last."""
    state, updates = initial_state(agent), {}
    for number, expected in enumerate(vectors):
        kind = agent.cycle(number)[0][0]
        updates.setdefault(kind, update_of(agent, kind))
        state, metrics = updates[kind](state, batch_of(number), c.fill_noise(agent.draws(six.B), start=23 * number))
        assert set(expected["losses"]) <= set(metrics)
        for name, value in expected["losses"].items():
            np.testing.assert_allclose(metrics[name], value, rtol=1e-10, err_msg=f"update {number + 1}: {name}")
        for trees in ("params", "targets"):
            for name, (weighted, norm) in expected[trees].items():
                found, where = six.sums(getattr(state, trees)[name]), f"update {number + 1}: {trees} of {name}"
                np.testing.assert_allclose(found, [weighted, norm], rtol=0, atol=1e-10 * norm, err_msg=where)
    return state


@pytest.mark.parametrize("case", CASES)
def test_updates_equal_those_of_the_authors_class(case, monkeypatch):
    cls, settings = CASES[case]
    agent, vectors = cls(cls.Config(**settings), six.O, six.D), VECTORS[case]
    state = after_updates(agent, vectors["updates"])
    last = vectors["updates"][-1]
    assert set(last["params"]) == set(state.params) and set(last["targets"]) == set(state.targets)
    if "actions" in vectors:
        noise = np.stack([c.fill_draw(200 + i, Draw("normal", (N, six.B, six.H * six.D))) for i in range(K + 1)])
        monkeypatch.setattr(jax.random, "normal", lambda rng, shape: jnp.asarray(noise).reshape(shape))
        online, target = agent.bind(state.params), agent.bind(state.targets)
        actions = agent.sample_actions(online, target, batch_of(0).observations, jax.random.PRNGKey(0))
        np.testing.assert_allclose(actions, vectors["actions"], rtol=1e-10)


def test_all_kinds_of_updates_and_all_networks_are_compared():
    kinds = {BDPO.__name__: {"pretrain", "update_critics", "update"}, DiffusionQL.__name__: {"update"}}
    for case, (cls, settings) in CASES.items():
        agent, rows = cls(cls.Config(**settings), six.O, six.D), VECTORS[case]["updates"]
        assert {agent.cycle(number)[0][0] for number in range(len(rows))} == kinds[cls.__name__]
        losses = set().union(*(row["losses"] for row in rows))
        assert {f"{name}_loss" for name in agent.networks()} <= losses
