"""A batch of the agent's own: drawn by its own method, offline and online from the same numbers."""

import csv
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from agents.bc import BC
from agents.fql import FQL
from agents.rql import RQL
from benchmark.checking.examination import examine
from benchmark.checking.gradients import holds_still
from benchmark.common.errors import UserError
from benchmark.loop.segments import init_states, sample
from benchmark.runs.protocol import Online, Protocol
from benchmark.runs.record import RunDirectory
from envs.data.dataset import from_transitions
from envs.data.replay import Joined, Transition, add, empty
from envs.family import family_of
from envs.tasks import get_task
from envs.toy.world import ToyWorld
from tests.helpers.loop import training_of
from tests.helpers.worlds import D, O, transitions

H, GAMMA = 3, 0.9
LENGTHS = (9, 1, 14, 3, 7)


class NextChunk(BC):
    """Clones chunks, and reads the one that follows."""

    name = "tests_next_chunk"

    def sample(self, data, rng, state):
        config = self.config
        start = data.starts(rng, config.batch_size, config.chunk_length)
        after = data.window(start, config.chunk_length, skip=config.chunk_length)
        batch = data.batch(start, config.chunk_length, config.discount)
        return batch.extended(next_actions=after.actions, next_inside=after.inside, seen=state.step)

    def loss(self, train, fixed, target, batch, noise):
        loss, metrics = super().loss(train, fixed, target, batch, noise)
        return loss, metrics | {"after": (batch.next_inside[..., None] * batch.next_actions).mean(), "seen": batch.seen}


class Windowed(NextChunk):
    """Works offline only: it reads what a dataset has and a replay lacks."""

    name = "tests_windowed"

    def sample(self, data, rng, state):
        return super().sample(data, rng, state)._replace(rewards=data.rewards[:8])


SMALL = dict(hidden=(8,), batch_size=8, chunk_length=2)


def train(folder, agent, task="toy-detour", seeds=(0, 3)):
    protocol = Protocol(steps=6, eval_every=6, eval_episodes=3, eval_first=False, log_every=3, checkpoint_every=6)
    task = get_task(task)
    with RunDirectory(folder) as directory:
        live = family_of(task).open_live(task, seeds)
        phase = Online(steps=9, start=3)
        training = training_of(directory, agent, protocol, ToyWorld(task), seeds, online=phase, live=live)
        training.run()
    return training


def test_an_own_sampler_is_honoured_offline_and_online(tmp_path):
    training = train(tmp_path / "run", NextChunk(NextChunk.Config(**SMALL), 2, 2))
    assert training.states.step.tolist() == [12, 12]
    table = list(csv.DictReader((tmp_path / "run" / "train.csv").open()))
    assert all(row["after"] for row in table)
    assert [float(row["seen"]) for row in table if row["seed"] == "3"] == [1, 4, 7, 10], "the state of its own update"


def test_a_sampler_that_works_offline_only_fails_before_the_offline_phase(tmp_path):
    with pytest.raises(AttributeError, match="rewards"):
        train(tmp_path / "run", Windowed(Windowed.Config(**SMALL), 2, 2))
    assert not (tmp_path / "run" / "train.csv").exists()


# ------------------------------------------------------------------------------------------------------- pieces


def in_two_parts():
    """A dataset of all trajectories; and the same transitions, of which the last two trajectories are a replay's."""
    old, new = transitions(LENGTHS), transitions((5, 6), seed=1)
    both = {name: np.concatenate([old[name], new[name]]) for name in old}
    replay = empty(30, O, D)
    for i, first in enumerate(np.concatenate([[True], new["terminals"][:-1] > 0])):
        row = {name: jnp.asarray(new[name][i]) for name in Transition.__dataclass_fields__}
        replay = add(replay, Transition(**row | {"masks": row["masks"] > 0}), jnp.asarray(first))
    return from_transitions(**both), Joined(from_transitions(**old), replay), both


WHOLE, PARTS, ROWS = in_two_parts()
SIZE = len(ROWS["actions"])
LAST = np.flatnonzero(ROWS["terminals"])
END = np.repeat(LAST, np.diff(LAST, prepend=-1))
"""The last transition of each transition's trajectory."""


def test_every_piece_is_the_same_whether_transitions_lie_in_a_dataset_or_behind_it():
    everywhere = jnp.arange(SIZE)
    for piece in (
        lambda data: data.at("next_observations", everywhere),
        lambda data: data.at("masks", everywhere),
        lambda data: data.to_end(everywhere),
        lambda data: data.starts(jax.random.PRNGKey(0), 50, 4),
        lambda data: data.window(everywhere, 4, skip=2),
        lambda data: data.batch(everywhere[: 1 - H], H, GAMMA),
        lambda data: data.batch(everywhere[: 1 - H], H, GAMMA, steps=5),
        lambda data: data.draw("sequences", jax.random.PRNGKey(0), 50, H, GAMMA, 5),
    ):
        jax.tree.map(np.testing.assert_array_equal, jax.jit(piece)(WHOLE), jax.jit(piece)(PARTS))
    np.testing.assert_array_equal(WHOLE.to_end(everywhere), END - np.arange(SIZE))
    assert int(PARTS.size) == SIZE == WHOLE.size


@pytest.mark.parametrize("skip", [0, 3])
def test_a_window_never_leaves_its_trajectory(skip):
    window = WHOLE.window(jnp.arange(SIZE), 4, skip)
    index = np.arange(SIZE)[:, None] + skip + np.arange(4)
    rows = np.minimum(index, END[:, None])
    for name in window._fields[:-1]:
        np.testing.assert_array_equal(getattr(window, name), ROWS[name][rows], err_msg=name)
    np.testing.assert_array_equal(window.inside, index <= END[:, None])


@pytest.mark.parametrize("steps", [1, 2, 7])
def test_a_return_of_another_length_stops_at_the_trajectorys_end_and_says_where_it_is_cut(steps):
    batch = jax.jit(lambda start: WHOLE.batch(start, H, GAMMA, steps))(jnp.arange(SIZE))
    batch = jax.tree.map(np.asarray, batch)
    for i in range(SIZE):
        rows = np.arange(i, min(i + steps, END[i] + 1))
        np.testing.assert_allclose(
            batch.rewards[i], (GAMMA ** np.arange(len(rows)) * ROWS["rewards"][rows]).sum(), 1e-5
        )
        assert batch.masks[i] == ROWS["masks"][rows].min()
        np.testing.assert_array_equal(batch.next_observations[i], ROWS["next_observations"][rows[-1]])
        assert batch.valid[i] == (i + max(H, steps) - 1 <= END[i])
    one = WHOLE.batch(jnp.arange(SIZE), H, GAMMA)
    np.testing.assert_array_equal(batch.actions, one.actions)
    np.testing.assert_array_equal(batch.action_weights, one.action_weights)


class LongReturn(FQL):
    """FQL on returns of seven steps."""

    name = "tests_long_return"

    @property
    def return_steps(self):
        return 7


def test_the_named_sampler_and_the_td_target_take_an_agents_length_of_returns():
    agent = LongReturn(LongReturn.Config(hidden=(8,), batch_size=200, chunk_length=H, discount=GAMMA), O, D)
    rng = jax.random.PRNGKey(1)
    batch = agent.sample(WHOLE, rng, None)
    wanted = WHOLE.batch(WHOLE.starts(rng, 200, 7), H, GAMMA, 7)
    jax.tree.map(np.testing.assert_array_equal, batch, wanted)
    np.testing.assert_allclose(agent.td_target(batch, 2.0), batch.rewards + GAMMA**7 * batch.masks * 2, rtol=1e-6)
    agent = type("RQL7", (RQL,), {"return_steps": 7})(RQL.Config(chunk_length=H), O, D)
    with pytest.raises(UserError, match="'trajectories' has returns of the chunk's 3 steps only, not 7"):
        agent.sample(WHOLE, rng, None)


def test_a_batch_with_fields_of_its_own_is_a_batch():
    batch = WHOLE.batch(jnp.arange(4), H, GAMMA)
    one, other = (batch.extended(goals=jnp.full(4, value)) for value in (1.0, 2.0))
    assert jax.tree.structure(one) == jax.tree.structure(other), "one program for both"
    assert one.goals.tolist() == [1] * 4 and one._fields[:-1] == batch._fields
    assert one.extended(more=one.goals).more is one.goals
    jax.tree.map(np.testing.assert_array_equal, batch, batch._replace(**{n: getattr(one, n) for n in batch._fields}))


class Prioritised(BC):
    """Draws four times as many chunks, and keeps those that the flow's parameters weigh most."""

    name = "tests_prioritised"

    def sample(self, data, rng, state):
        config, (draw, choose) = self.config, jax.random.split(rng)
        batch = data.batch(data.starts(draw, 4 * config.batch_size, H), H, config.discount)
        value = self.bind(state.params).flow(batch.observations, batch.actions, batch.valid[:, None]).sum(-1)
        chosen = jax.random.categorical(choose, 10 * value, shape=(config.batch_size,))
        return jax.tree.map(lambda rows: rows[chosen], batch)


def test_a_sampler_weighs_by_each_seeds_own_state():
    agent = Prioritised(Prioritised.Config(hidden=(8,), batch_size=16, chunk_length=H), O, D)
    states = init_states(agent, jnp.asarray([3, 7], jnp.uint32))
    draw = jax.jit(jax.vmap(lambda state: sample(agent, state, WHOLE)))
    drawn, swapped = draw(states), draw(states.replace(params=jax.tree.map(lambda leaf: leaf[::-1], states.params)))
    alone = draw(jax.tree.map(lambda leaf: leaf[1:], states))
    np.testing.assert_array_equal(drawn.actions[1:], alone.actions)
    assert not np.array_equal(drawn.actions, swapped.actions)


# -------------------------------------------------------------------------------------------------------- checks

SOUND = Path(__file__).parents[1] / "sound_agents" / "own_batches.py"


def test_batches_of_longer_returns_weighed_by_rewards_are_taken_for_right():
    finding = examine(str(SOUND), checks=["batches"])[-1]
    assert finding.check == "batches" and finding.passed, finding.text
    assert finding.text.endswith("offline and online; its own: next_actions, next_inside")


@pytest.mark.slow
def test_networks_with_late_optimisers_are_taken_for_trained():
    finding = examine(str(SOUND), checks=["gradients"])[-1]
    assert finding.passed and "frozen" not in finding.text, finding.text


def test_an_optimiser_that_never_steps_is_told_from_one_that_is_late():
    params = {"w": jnp.ones(2)}
    late = optax.conditionally_mask(optax.adam(1e-3), lambda step: step % 2 == 1)
    assert holds_still(optax.set_to_zero(), params)
    assert not holds_still(late, params) and not holds_still(optax.adam(1e-3), params)
