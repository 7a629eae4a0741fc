"""Checkpoints are written beside training, and nothing that a run goes on from depends on when they are done."""

import threading
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agents.bc import BC
from benchmark.common.errors import Stopped, UserError
from benchmark.common.reading import read_json
from benchmark.loop.checkpoints import Checkpoints, damage_of
from benchmark.loop.segments import init_states, run_segment
from benchmark.planning.memory import check_memory, machine_memory
from benchmark.runs.protocol import Protocol
from benchmark.runs.record import RunDirectory
from benchmark.runs.table import Table
from tests.helpers.loop import training_of
from tests.helpers.worlds import D, FakeWorld, O

AGENT = BC(BC.Config(hidden=(16, 16), batch_size=4, flow_steps=2), O, D)
PROTOCOL = Protocol(steps=12, eval_every=6, eval_episodes=3, eval_first=True, log_every=2, checkpoint_every=4)
SECONDS = 20


class Held(Checkpoints):
    """Writes when it is let."""

    def __init__(self, folder):
        super().__init__(folder)
        self.may_write, self.began, self.at_work, self.most = threading.Event(), threading.Event(), 0, 0

    def write(self, update, states, record):
        self.at_work += 1
        self.most = max(self.most, self.at_work)
        self.began.set()
        assert self.may_write.wait(SECONDS)
        super().write(update, states, record)
        self.at_work -= 1


def states_of(seed=0):
    return init_states(AGENT, jnp.asarray([seed, 3], jnp.uint32))


def test_training_goes_on_and_reuses_memory_while_a_checkpoint_of_before_is_written(tmp_path):
    checkpoints, states = Held(tmp_path), states_of()
    kept = jax.tree.map(np.array, states)
    record = {"diverged": {}}
    checkpoints.save(4, states, record)
    record["diverged"]["0"] = 6  # as a seed that diverges meanwhile
    assert checkpoints.began.wait(SECONDS) and not (tmp_path / "4").exists()
    after, _ = jax.block_until_ready(run_segment(AGENT, states, FakeWorld().data, 3, ("update",)))
    checkpoints.may_write.set()
    update, found, told = checkpoints.restore(states_of(7), print)
    checkpoints.close()
    assert update == 4 and told == {"diverged": {}}
    jax.tree.map(np.testing.assert_array_equal, found, kept)
    assert not np.array_equal(jax.tree.leaves(after.params)[0], jax.tree.leaves(kept.params)[0])


def test_no_more_than_one_is_under_way(tmp_path):
    checkpoints = Held(tmp_path)
    checkpoints.save(4, states_of(), {})
    second = threading.Thread(target=checkpoints.save, args=(8, states_of(1), {}))
    second.start()
    second.join(0.2)
    assert second.is_alive() and checkpoints.most == 1
    checkpoints.may_write.set()
    second.join(SECONDS)
    assert checkpoints.close() == "" and checkpoints.most == 1
    assert [damage_of(tmp_path / name) for name in ("4", "8")] == ["", ""]


def test_the_rows_that_a_checkpoint_vouches_for_are_on_disk_before_it_is_begun(tmp_path):
    run, vouched = tmp_path / "run", []

    class Looking(Checkpoints):
        def write(self, update, states, record):
            for name in ("train.csv", "eval.csv"):
                table = Table(run / name)
                table.check(update, record["tables"][name])
                vouched.append((update, name, len(table.rows)))
            super().write(update, states, record)

    with RunDirectory(run) as directory:
        training = training_of(directory, AGENT, PROTOCOL, FakeWorld())
        training.checkpoints = Looking(directory.checkpoints)
        training.run()
    assert [update for update, name, _ in vouched if name == "train.csv"] == [4, 8, 12]
    assert all(count > 0 for *_, count in vouched)


class Failing(Checkpoints):
    """Cannot write; says so when it is asked next."""

    def write(self, update, states, record):
        raise UserError(f"cannot write the checkpoint of update {update}: disk full")


@pytest.mark.parametrize("at", [4, 12])
def test_a_checkpoint_that_cannot_be_written_ends_the_run_by_the_next_row_and_it_is_not_done(tmp_path, at):
    class From(Failing):
        def write(self, update, *others):
            writer = Failing if update >= at else Checkpoints
            writer.write(self, update, *others)

    reached = []

    def on_progress(what, done, total):
        reached.append(done)
        time.sleep(0.3 * (done == at))  # so that the thread's end is before the next row

    with RunDirectory(tmp_path / "run") as directory:
        training = training_of(directory, AGENT, PROTOCOL, FakeWorld(), on_progress=on_progress)
        training.checkpoints = From(directory.checkpoints)
        with pytest.raises(UserError, match=f"cannot write the checkpoint of update {at}: disk full"):
            training.run()
    assert max(reached) == at
    assert read_json(tmp_path / "run" / "status.json")["state"] == "running"  # whoever runs it records the end


def test_what_fails_while_a_checkpoint_fails_is_said_with_it(tmp_path):
    def on_progress(what, done, total):
        if what == "training" and done == 4:
            raise UserError("no room for rows")

    with RunDirectory(tmp_path / "run") as directory:
        training = training_of(directory, AGENT, PROTOCOL, FakeWorld(), on_progress=on_progress)
        training.checkpoints = Failing(directory.checkpoints)
        with pytest.raises(UserError, match="cannot write the checkpoint of update 4: disk full; no room for rows"):
            training.run()


def test_a_run_that_is_asked_to_stop_ends_when_its_checkpoint_is_whole(tmp_path):
    with RunDirectory(tmp_path / "run") as directory:
        training = training_of(directory, AGENT, PROTOCOL, FakeWorld(), should_stop=lambda: training.step == 6)
        slow = training.checkpoints = Held(directory.checkpoints)
        threading.Timer(0.5, slow.may_write.set).start()
        with pytest.raises(Stopped, match="saved at step 6"):
            training.run()
    assert damage_of(tmp_path / "run" / "checkpoints" / "6") == ""


def test_the_copy_that_a_checkpoint_is_written_from_is_counted_as_memory():
    config = BC.Config(hidden=(1000, 1000), batch_size=1, ensemble=1)
    state = 3 * 4 * 1000 * 1000  # parameters and Adam's two averages
    check_memory("bc", config, machine_memory() // (3 * state))
    with pytest.raises(UserError, match="need at least"):
        check_memory("bc", config, machine_memory() // (2 * state) + 1)
