"""State that is no network, and phases of a run: what begins anew, exactly once, also where a run is cut in between."""

import json
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest
from flax import struct

from agents.base import State
from agents.bc import BC
from agents.trqam import TRQAM
from benchmark.common.errors import Stopped
from benchmark.loop.checkpoints import CHECKSUMS, Checkpoints, checksums, described
from benchmark.loop.segments import init_states, run_segment
from benchmark.runs.protocol import Online, Protocol
from benchmark.runs.record import RunDirectory
from envs.family import family_of
from envs.tasks import get_task
from envs.toy.world import ToyWorld
from tests.helpers.loop import training_of

PROTOCOL = Protocol(steps=6, eval_every=6, eval_episodes=2, eval_first=False, log_every=3, checkpoint_every=3)
TASK = get_task("toy-detour")


class Phased(BC):
    """BC that counts its updates in its extra state, and notes where phases begin; actions are 1 online."""

    def init_extra(self):
        return {"updates": jnp.zeros(()), "seen": jnp.zeros(2), "began": jnp.zeros(2), "online_phase": jnp.zeros(())}

    @property
    def pretraining_steps(self):
        return 4

    def loss(self, train, fixed, target, batch, noise):
        total, metrics = super().loss(train, fixed, target, batch, noise)
        return total, metrics | {"count": fixed.updates, "mean": batch.observations.mean(axis=0)}

    def after_update(self, extra, batch, metrics):
        seen = metrics.pop("mean")
        return extra | {"updates": extra["updates"] + 1, "seen": extra["seen"] + seen}, metrics

    def begin(self, state, phase):
        began = state.extra["began"].at[int(phase == "online")].add(1 + 100 * state.extra["updates"])
        is_online = jnp.ones(()) * (phase == "online")
        return state.replace(extra=state.extra | {"began": began, "online_phase": is_online})

    def sample_actions(self, online, target, observations, rng):
        actions = super().sample_actions(online, target, observations, rng)
        return jnp.where(online.online_phase > 0, jnp.ones_like(actions), actions)


SMALL = dict(hidden=(8,), batch_size=8, chunk_length=2, flow_steps=2)
AGENT = Phased(Phased.Config(**SMALL), 2, 2)


def train(path, agent=AGENT, phase=None, protocol=PROTOCOL, **options):
    seeds = (0, 3)
    with RunDirectory(path) as directory:
        if phase:
            options |= dict(online=phase, live=family_of(TASK).open_live(TASK, seeds))
        training = training_of(directory, agent, protocol, ToyWorld(TASK), seeds, **options)
        training.run()
    return training


@pytest.mark.parametrize("cut_at", [None, 4, 7])
def test_a_phase_begins_once_also_where_a_run_is_cut_there(tmp_path, cut_at):
    if cut_at:
        reached = []
        with pytest.raises(Stopped):
            train(
                tmp_path / "run",
                on_progress=lambda what, done, total: reached.append(done),
                should_stop=lambda: True if cut_at == 4 else bool(reached),
            )
    extra = train(tmp_path / "run").states.extra
    np.testing.assert_array_equal(extra["began"], [[1 + 400, 0]] * 2)
    np.testing.assert_array_equal(extra["updates"], [10, 10])
    assert not np.allclose(extra["seen"][0], extra["seen"][1]), "seeds have batches of their own"


def test_the_online_phase_begins_once_and_acts_otherwise(tmp_path):
    training = train(tmp_path / "run", phase=Online(steps=5, start=2))
    np.testing.assert_array_equal(training.states.extra["began"], [[401, 1001]] * 2)
    np.testing.assert_array_equal(training.states.extra["updates"], [13, 13])
    assert (np.asarray(training.replay.replays.transitions.actions)[:, :5] == 1).all()
    act = AGENT.act(jax.tree.map(lambda leaf: leaf[0], training.states), jnp.zeros((3, 2)), jax.random.PRNGKey(0))
    np.testing.assert_array_equal(act, np.ones((3, 2, 2)))


def test_a_checkpoint_from_before_there_was_extra_state_is_read(tmp_path):
    @struct.dataclass
    class Former:
        step: Any
        rng: Any
        params: dict
        targets: dict
        optimizer: Any

    parts = dict(step=jnp.ones(2, jnp.int32), rng=jnp.zeros((2, 2), jnp.uint32), params={"flow": {"w": jnp.ones(3)}})
    parts |= dict(targets={}, optimizer=({"mean": jnp.ones(2)},))
    former = ocp.CheckpointManager(tmp_path, options=ocp.CheckpointManagerOptions(enable_async_checkpointing=False))
    record = {"arrays": described(Former(**parts))}
    former.save(
        1, args=ocp.args.Composite(states=ocp.args.StandardSave(Former(**parts)), record=ocp.args.JsonSave(record))
    )
    former.close()
    (tmp_path / "1" / CHECKSUMS).write_text(json.dumps(checksums(tmp_path / "1")))
    checkpoints = Checkpoints(tmp_path)
    found = checkpoints.restore(jax.tree.map(jnp.zeros_like, State(**parts)), print)
    checkpoints.close()
    jax.tree.map(np.testing.assert_array_equal, found[1], State(**parts))


def test_a_loss_sees_the_extra_state_of_before_the_update_and_scalars_alone_are_logged():
    states = init_states(AGENT, jnp.asarray([0, 3], jnp.uint32))
    states, metrics = run_segment(AGENT, states, ToyWorld(TASK).data_for(0), 4, ("update",))
    np.testing.assert_allclose(metrics["count"], [1.5, 1.5])
    assert set(metrics) == {"loss", "flow_loss", "count"}


def test_trqam_begins_training_with_one_clone_and_a_new_adam(tmp_path):
    settings = dict(SMALL, ensemble=2, pretraining_steps=4, kl_budget=0.3)
    agent = TRQAM(TRQAM.Config(**settings), 2, 2)
    states = init_states(agent, jnp.asarray([0, 3], jnp.uint32))
    state = jax.tree.map(lambda leaf: leaf[0], states)
    data = ToyWorld(TASK).data_for(0)
    pretrained, _ = run_segment(agent, states, data, 4, agent.cycle(0)[0])
    pretrained = jax.tree.map(lambda leaf: leaf[0], pretrained)
    assert agent.cycle(3) == (("pretrain",), 4) and agent.cycle(4) == (("update",), None)
    began = agent.begin(pretrained, "training")
    for tree in (began.params["slow"], began.params["fast"], began.targets["slow"]):
        jax.tree.map(np.testing.assert_array_equal, tree, pretrained.params["slow"])
    for tree in (began.params["critic"], began.targets["critic"]):
        jax.tree.map(np.testing.assert_array_equal, tree, state.params["critic"])
    jax.tree.map(np.testing.assert_array_equal, began.optimizer, agent.optimizer().init(began.params))
    assert jax.tree.leaves(began.optimizer) and int(began.step) == 4
    jax.tree.map(np.testing.assert_array_equal, began.extra, agent.init_extra())
    training = train(tmp_path / "run", agent)
    assert (np.asarray(training.states.extra["lam"]) != 1).all()
    counts = [
        leaf
        for leaf in jax.tree.leaves(training.states.optimizer)
        if leaf.shape == (2,) and jnp.issubdtype(leaf.dtype, jnp.integer)
    ]
    assert [count.tolist() for count in counts] == [[6, 6]], "Adam counts from the beginning of training"
