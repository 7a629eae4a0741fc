"""Optimisers of single networks: rates, clipping and counts of their own; frozen and late ones; the joint Adam."""

from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from agents.alternating import AlternatingAgent
from agents.base import Agent, Batch, Config, normal
from agents.networks import VectorField

O, D, B = 3, 2, 8


class Three(Agent):
    """Three small networks, each with a loss of its own."""

    name = "tests_three"
    Config = Config
    targets = ("first",)

    def networks(self):
        return {name: (VectorField((), self.chunk_dim), "observation") for name in ("first", "second", "third")}

    def draws(self, batch_size):
        return {"shift": normal(batch_size, self.chunk_dim)}

    def loss(self, train, fixed, target, batch, noise):
        networks = train.first, train.second, train.third
        errors = [((net(batch.observations) - 50 * batch.actions + noise["shift"]) ** 2).mean() for net in networks]
        return sum(errors), {}


def agent_with(optimizers, **attributes):
    made = type("Made", (Three,), {"name": "tests_made", "optimizers": lambda self: optimizers(self), **attributes})
    return made(Config(chunk_length=1, learning_rate=1e-2), O, D)


RNG = np.random.default_rng(0)
BATCH = Batch(
    *(jnp.asarray(RNG.normal(size=shape), jnp.float32) for shape in ((B, O), (B, D), B, B, (B, O), B, (B, D)))
)


def train(agent, updates=4):
    """The parameters of each network after so many updates, and before the first."""
    state, update = jax.jit(lambda agent: agent.init(jax.random.PRNGKey(0)))(agent), jax.jit(type(agent).update)
    seen = [state.params]
    for _ in range(updates):
        state, _ = update(agent, state, BATCH)
        seen.append(state.params)
    return seen


@pytest.fixture(scope="module")
def joint():
    return train(agent_with(lambda self: {}))


def same(one, other):
    return all(jax.tree.leaves(jax.tree.map(lambda a, b: bool((a == b).all()), one, other)))


def test_an_agent_that_names_no_optimiser_has_the_joint_adam_and_its_state():
    params = {"first": jnp.ones(2), "second": jnp.ones(3), "third": jnp.ones(1)}
    for norm, plain in ((None, optax.adam(1e-2)), (1.0, optax.chain(optax.clip_by_global_norm(1.0), optax.adam(1e-2)))):
        agent = agent_with(lambda self: {}, max_gradient_norm=norm)
        wanted, found = plain.init(params), agent.optimizer().init(params)
        assert jax.tree.structure(wanted) == jax.tree.structure(found)


def test_a_frozen_network_stays_and_the_others_learn_as_without_it(joint):
    frozen = train(agent_with(lambda self: {"second": optax.set_to_zero()}))
    assert same(frozen[-1]["second"], frozen[0]["second"]) and not same(joint[-1]["second"], joint[0]["second"])
    for name in ("first", "third"):
        assert same(frozen[-1][name], joint[-1][name])


def test_each_network_has_its_own_rate_schedule_and_clipping(joint):
    optimizers = {
        "first": lambda self: self.adam(10 * self.config.learning_rate),
        "second": lambda self: self.adam(optax.linear_schedule(1e-2, 0, 2)),
        "third": lambda self: optax.chain(optax.clip_by_global_norm(0.5), optax.sgd(1.0)),
    }
    seen = train(agent_with(lambda self: {name: make(self) for name, make in optimizers.items()}))
    lengths = {
        name: [float(optax.global_norm(jax.tree.map(jnp.subtract, b[name], a[name]))) for a, b in pairwise(seen)]
        for name in optimizers
    }
    first = float(optax.global_norm(jax.tree.map(jnp.subtract, joint[1]["first"], joint[0]["first"])))
    assert lengths["first"][0] == pytest.approx(10 * first, rel=1e-3)
    assert lengths["second"][1] == pytest.approx(lengths["second"][0] / 2, rel=0.05) and lengths["second"][2:] == [0, 0]
    np.testing.assert_allclose(lengths["third"], 0.5, rtol=1e-4)


def test_a_delayed_network_moves_at_every_second_update_only():
    every_second = lambda self: {"third": optax.conditionally_mask(self.adam(1e-2), lambda step: step % 2 == 1)}  # noqa: E731
    seen = train(agent_with(every_second))
    assert [same(a["third"], b["third"]) for a, b in pairwise(seen)] == [True, False, True, False]
    assert not any(same(a["first"], b["first"]) for a, b in pairwise(seen))


def test_an_optimiser_of_no_network_is_refused():
    agent = agent_with(lambda self: {"frist": optax.set_to_zero()})
    with pytest.raises(ValueError, match="names 'frist'; the networks are first, second, third"):
        agent.init(jax.random.PRNGKey(0))


def test_optimisers_of_networks_that_are_trained_in_turn_see_the_parameters():
    """Weight decay needs them: a step on a loss without gradient shrinks a network by the rate times the decay."""

    class Turns(AlternatingAgent):
        name, targets = "tests_turns", ()
        networks, draws = Three.networks, Three.draws

        def optimizers(self):
            return {"first": optax.adamw(1e-2, weight_decay=0.5)}

        def update(self, state, batch):
            return self.descend(state, batch, self.noise(state, batch), first=lambda *rest: (jnp.zeros(()), {}))

    agent = Turns(Config(chunk_length=1), O, D)
    state = agent.init(jax.random.PRNGKey(0))
    after, _ = agent.update(state, BATCH)
    for before, leaf in zip(*map(jax.tree.leaves, (state.params["first"], after.params["first"])), strict=True):
        np.testing.assert_allclose(leaf, (1 - 1e-2 * 0.5) * before, rtol=1e-6)
