"""What an agent is to know of its data is computed once, reaches losses and acting, and goes on with a run."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest
from flax import struct

from agents.base import State
from agents.bc import BC
from benchmark.common.errors import UserError
from benchmark.common.files import write_json
from benchmark.loop.checkpoints import CHECKSUMS, Checkpoints, checksums, described
from benchmark.loop.segments import act, init_states, run_segment
from benchmark.planning.configure import configure, describe
from benchmark.planning.plan import choose, known_settings, settings_for
from benchmark.planning.registry import agent_class
from envs.tasks import get_task
from tests.helpers.worlds import D, FakeWorld, O

SMALL = BC.Config(hidden=(8,), chunk_length=2, batch_size=4, flow_steps=2)
SEEDS = jnp.asarray([3, 7], jnp.uint32)


class Knowing(BC):
    """Cloning that knows the mean reward and a pool of rows, and acts by them."""

    def facts(self, data, rng):
        rows = jax.random.randint(rng, (5,), 0, data.size)
        return {"mean_reward": data.rewards.mean(), "pool": data.actions[rows]}

    def loss(self, train, fixed, target, batch, noise):
        loss, metrics = super().loss(train, fixed, target, batch, noise)
        return loss, metrics | {"mean_reward": fixed.mean_reward, "pool_mean": fixed.pool.mean()}

    def sample_actions(self, online, target, observations, rng):
        return jnp.broadcast_to(jnp.tile(online.pool[0], 2), (len(observations), 2 * D))


AGENT = Knowing(SMALL, O, D)


def test_facts_of_the_data_are_the_same_for_all_seeds_and_what_is_drawn_is_the_seeds_own():
    data = FakeWorld().data
    states = init_states(AGENT, SEEDS, data=data)
    np.testing.assert_allclose(states.extra["mean_reward"], np.full(2, np.asarray(data.rewards).mean()), rtol=1e-6)
    pools = np.asarray(states.extra["pool"])
    assert pools.shape == (2, 5, D) and not np.array_equal(*pools)
    assert all((np.asarray(data.actions) == row).all(axis=1).any() for row in pools.reshape(-1, D))
    alone = init_states(AGENT, SEEDS[1:], data=data)
    np.testing.assert_array_equal(alone.extra["pool"][0], pools[1])
    plain = init_states(BC(SMALL, O, D), SEEDS, data=data)
    jax.tree.map(np.testing.assert_array_equal, plain.params, states.params)


def test_facts_reach_losses_and_acting_and_stay_as_they_are():
    data = FakeWorld().data
    begin = init_states(AGENT, SEEDS, data=data)
    extra = jax.device_get(begin.extra)
    states, metrics = run_segment(AGENT, begin, data, 3, ("update",))
    jax.tree.map(np.testing.assert_array_equal, states.extra, extra)
    np.testing.assert_allclose(metrics["mean_reward"], extra["mean_reward"], rtol=1e-6)
    np.testing.assert_allclose(metrics["pool_mean"], extra["pool"].mean(axis=(1, 2)), rtol=1e-5)
    chunks = act(AGENT, states, jnp.zeros((2, 3, O)), jnp.zeros((2, 3, 4), jnp.uint32))
    np.testing.assert_allclose(chunks[:, 0, 0], extra["pool"][:, 0])


def test_a_run_that_goes_on_has_the_facts_that_it_began_with(tmp_path):
    states = init_states(AGENT, SEEDS, data=FakeWorld().data)
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    checkpoints.save(5, states, {})
    other = init_states(AGENT, SEEDS, data=FakeWorld((4, 30)).data)
    _, found, _ = checkpoints.restore(other, print)
    checkpoints.close()
    jax.tree.map(np.testing.assert_array_equal, found, states)


def test_a_checkpoint_from_before_states_had_more_than_networks_is_gone_on_with(tmp_path):
    states = init_states(BC(SMALL, O, D), SEEDS)
    names = [field.name for field in dataclasses.fields(State) if field.name != "extra"]
    before = struct.dataclass(type("Before", (), {"__annotations__": dict.fromkeys(names, object)}))
    old = before(*(getattr(states, name) for name in names))
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    record = ocp.args.JsonSave({"arrays": described(old)})
    checkpoints.manager.save(5, args=ocp.args.Composite(states=ocp.args.StandardSave(old), record=record))
    checkpoints.manager.wait_until_finished()
    write_json(checkpoints.folder / "5" / CHECKSUMS, checksums(checkpoints.folder / "5"))
    _, found, _ = checkpoints.restore(states, print)
    checkpoints.close()
    jax.tree.map(np.testing.assert_array_equal, found, states)


# ------------------------------------------------------------------- hyperparameters that an agent has or has not


@pytest.mark.parametrize("name, absent", [("floq", ["pessimism"]), ("value_flows", ["ensemble", "pessimism"])])
def test_what_means_nothing_to_an_agent_is_no_hyperparameter_of_it(name, absent):
    cls, task = agent_class(name), get_task("cube-double-play-singletask-task1-v0")
    chosen, origins = choose(cls, task, {})
    record = describe(configure(cls, chosen))
    assert set(record) == set(origins) and not set(record) & set(absent)
    assert not set(known_settings(cls, dict.fromkeys(absent, 1)))
    for option in absent:
        with pytest.raises(UserError, match=f"agent '{name}' has no hyperparameter '{option}'.*; it has: "):
            choose(cls, task, {option: "3"})


@pytest.mark.parametrize("name", ["floq", "value_flows"])
def test_returns_have_a_range_where_the_discount_is_below_1_alone(name):
    cls, task = agent_class(name), get_task("cube-double-play-singletask-task1-v0")
    most = next(field.metadata["high"] for field in dataclasses.fields(cls.Config) if field.name == "discount")
    with pytest.raises(UserError, match=f"{name}: discount must be from 0 to {most}, not 1.0"):
        choose(cls, task, {"discount": "1"})
    agent = cls(cls.Config(hidden=(8,), batch_size=8, chunk_length=2, flow_steps=2, discount=most), O, D)
    data = FakeWorld().data
    states, metrics = run_segment(agent, init_states(agent, SEEDS, data=data), data, 3, ("update",))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((states, metrics)))


def test_tuned_values_may_be_structural_and_have_a_discount_of_their_own():
    floq, task = agent_class("floq"), get_task("antmaze-giant-navigate-singletask-task1-v0")
    config = configure(floq, settings_for(floq, task))
    assert (config.aggregate, config.batch_size, config.critic_steps, config.discount) == ("min", 512, 4, 0.995)
    assert choose(floq, task, {})[1]["batch_size"].startswith("published: floq")
    cube = get_task("cube-double-play-singletask-task1-v0")
    config = configure(floq, settings_for(floq, cube))
    assert (config.velocity_hidden, config.hidden) == ((512, 512), (512,) * 4)
    assert choose(floq, cube, {})[1]["velocity_hidden"].startswith("derived: floq"), "a domain that the file lists"
    flows = agent_class("value_flows")
    assert configure(flows, settings_for(flows, cube)).discount == 0.995 != cube.domain.discount
