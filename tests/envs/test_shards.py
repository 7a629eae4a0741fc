"""Training on many files: the published rotation, two files in memory, and exact after a resume."""

import gc
import json
import weakref
from pathlib import Path

import numpy as np
import pytest

from agents.bc import BC
from benchmark.common.errors import UserError
from benchmark.runs.protocol import Protocol
from envs.data import origin
from envs.data.dataset import from_transitions
from envs.data.shards import Rotation, check_shards, shard_files
from envs.files.local import files_of
from envs.ogbench.generating import SHARDS_NOTE
from tests.benchmark.test_training import Cut, records
from tests.benchmark.test_training import train as train_agent
from tests.helpers.worlds import D, FakeWorld, O, transitions

AGENT = BC(BC.Config(hidden=(8,), chunk_length=2, batch_size=4, flow_steps=1), O, D)
FOUR = [Path(f"{i}.npz") for i in range(4)]


def load(path, lengths=(9, 1, 14, 3, 7)):
    return from_transitions(**transitions(lengths, seed=int(path.stem)))


def train(path, world, seeds=(0,), **options):
    return train_agent(path, world, seeds=seeds, agent=AGENT, **options)


class ShardedWorld(FakeWorld):
    """A fake world of three files that change every five updates."""

    def __init__(self, period=5):
        super().__init__()
        self.rotation = Rotation(FOUR[:3], load, period)
        self.asked = []

    def data_for(self, update):
        self.asked.append((update, self.rotation.index_for(update)))
        return self.rotation.data_for(update)

    def next_change(self, update):
        return self.rotation.next_change(update)


def test_files_follow_one_another_as_published():
    rotation = Rotation(FOUR[:3], load)
    by_step = {1: 0, 999: 0, 1000: 1, 1999: 1, 2000: 2, 2999: 2, 3000: 0, 99_999: 0, 100_000: 1, 1_000_000: 1}
    assert {step: rotation.index_for(step - 1) for step in by_step} == by_step
    for step, index in by_step.items():
        np.testing.assert_array_equal(rotation.data_for(step - 1).actions, load(FOUR[index]).actions)
    rotation.close()


def test_the_next_change_is_the_first_update_of_another_file():
    rotation = Rotation(FOUR[:3], load, updates_per_shard=5)
    index = [rotation.index_for(update) for update in range(40)]
    for update in range(20):
        change = next(later for later in range(update, 40) if index[later] != index[update])
        assert rotation.next_change(update) == change
    assert Rotation(FOUR[:1], load).next_change(0) is None


@pytest.fixture(scope="module")
def whole_records(tmp_path_factory):
    path, world = tmp_path_factory.mktemp("whole") / "run", ShardedWorld()
    train(path, world)
    # Rows are due after updates 2, 4, ...; files change before updates 4 and 9, so that row 10 is of two files.
    expected = [(0, 0), (0, 0), (2, 0), (4, 1), (6, 1), (8, 1), (9, 2), (10, 2)]
    assert world.asked == expected
    return records(path)


def test_rows_are_due_at_the_same_steps_as_with_one_file(whole_records):
    steps = [line.split(",")[0] for line in whole_records["train.csv"].splitlines()[1:]]
    assert steps == ["2", "4", "6", "8", "10", "12"]


@pytest.mark.parametrize("segment", [2, 4, 5])
def test_a_run_cut_in_any_file_ends_with_the_same_records(tmp_path, segment, whole_records):
    calls = []

    def cut(what, done, total):
        calls.append(done)
        if what == "training" and len(calls) == segment:
            raise Cut

    with pytest.raises(Cut):
        train(tmp_path / "run", ShardedWorld(), on_progress=cut)
    train(tmp_path / "run", ShardedWorld())
    assert records(tmp_path / "run") == whole_records


def test_files_matter(tmp_path, whole_records):
    train(tmp_path / "run", ShardedWorld(period=1000))
    assert records(tmp_path / "run")["train.csv"] != whole_records["train.csv"]


def test_a_row_is_the_mean_over_all_its_updates_whatever_the_files(tmp_path):
    protocol = Protocol(12, 12, 1, eval_first=False, log_every=1, checkpoint_every=12)
    means = []
    for log_every in (1, 12):
        path = tmp_path / str(log_every)
        train(path, ShardedWorld(), protocol=Protocol(**{**vars(protocol), "log_every": log_every}))
        lines = [line.split(",") for line in (path / "train.csv").read_text().splitlines()]
        means.append(np.mean([[float(value) for value in line[2:]] for line in lines[1:]], axis=0))
    np.testing.assert_allclose(means[0], means[1], rtol=1e-4, atol=1e-6)


@pytest.fixture
def little_to_collect():
    """What other tests have left is not searched for garbage, which takes a second each time."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


def test_two_files_at_most_are_in_memory(little_to_collect):
    alive, most = {}, [0]

    def counted(path):
        gc.collect()
        most[0] = max(most[0], len(alive) + 1)  # with the one that is being loaded
        data = load(path)
        alive[id(data)] = weakref.finalize(data, alive.pop, id(data))
        return data

    rotation = Rotation(FOUR, counted, updates_per_shard=3)
    for update in [*range(30), 3, 4, 17, 5]:  # forward, and back and forth as after a resume
        rotation.data_for(update)
        rotation.next[1].result(10)
        gc.collect()
        assert len(alive) == 2
    rotation.close()
    assert most == [2]


def test_the_next_file_loads_while_the_one_before_trains():
    loaded = []
    rotation = Rotation(FOUR, lambda path: loaded.append(path.stem) or load(path), updates_per_shard=3)
    rotation.next[1].result(10)
    assert loaded == ["0", "1"]
    rotation.data_for(2)
    rotation.next[1].result(10)
    assert loaded == ["0", "1", "2"]
    rotation.close()


def test_files_of_another_form_are_refused():
    with pytest.raises(UserError, match=r"1.npz has 20 transitions of 2 trajectories, other than 0.npz"):
        Rotation(FOUR, lambda path: load(path) if path.stem == "0" else load(path, (9, 11)), 3).data_for(2)


def test_a_file_that_fails_to_load_is_named_when_its_turn_comes():
    def failing(path):
        if path.stem == "1":
            raise UserError("1.npz is damaged")
        return load(path)

    rotation = Rotation(FOUR, failing, 3)
    rotation.data_for(1)
    with pytest.raises(UserError, match=r"1.npz is damaged"):
        rotation.data_for(2)


@pytest.fixture
def folder(tmp_path):
    """Three files as `envs.generate --shards 3` leaves them, held-out ones among them."""
    folder = tmp_path / "cube-quadruple-play-100m-v0"
    folder.mkdir()
    (folder / SHARDS_NOTE).write_text('{"source": "generated", "shards": 3}')
    arrays = dict(observations=np.zeros((6, 4)), actions=np.zeros((6, 2)), terminals=np.zeros(6))
    for i in range(3):
        for suffix in ("", "-val"):
            np.savez(folder / f"cube-quadruple-play-v0-{i:03d}{suffix}.npz", **arrays)
    return folder


def test_held_out_files_are_not_trained_on_and_names_are_sorted(folder):
    assert [file.name for file in shard_files(folder)] == [f"cube-quadruple-play-v0-00{i}.npz" for i in range(3)]
    check_shards(shard_files(folder))


def test_a_published_folder_has_a_hundred_files(tmp_path):
    files = shard_files(tmp_path / "puzzle-4x4-play-100m-v0")
    assert [str(file.relative_to(tmp_path)) for file in files] == files_of("puzzle-4x4-play-100m-v0")
    assert len(files) == 100 and files == sorted(files)


def test_missing_and_damaged_files_are_named(folder):
    first, second, third = shard_files(folder)
    first.unlink()
    second.write_bytes(second.read_bytes()[:-50])
    third.with_name(f"{third.name}.json").write_text(json.dumps({"size": 1}))
    with pytest.raises(UserError) as caught:
        check_shards([first, second, third])
    for text in ("3 of 3 files", "000.npz is missing", "001.npz is damaged", "002.npz is damaged", "were recorded"):
        assert text in str(caught.value)


def test_a_file_of_another_size_is_named(folder):
    files = shard_files(folder)
    np.savez(files[1], observations=np.zeros((7, 4)), actions=np.zeros((7, 2)), terminals=np.zeros(7))
    with pytest.raises(UserError, match=r"001.npz has arrays of another size"):
        check_shards(files)


def test_published_files_beside_generated_ones_are_not_passed_over(folder):
    files = shard_files(folder)
    files[2].with_name("cube-quadruple-play-v0-003.npz").write_bytes(files[2].read_bytes())
    with pytest.raises(UserError, match=r"holds 1 files beside the 3 that were generated .*, such as .*-003.npz"):
        check_shards(files)


def test_recorded_digests_stand_for_the_files(folder, monkeypatch):
    files = shard_files(folder)
    by_reading = origin.fingerprint(files)
    for file in files:
        record = {"size": file.stat().st_size, "sha256": origin.digest_of(file), "source": "generated"}
        file.with_name(f"{file.name}.json").write_text(json.dumps(record))
    monkeypatch.setattr(origin, "digest_of", lambda file: pytest.fail(f"{file} was read"))
    assert origin.fingerprint(files) == by_reading
    assert origin.origin(files) == {"source": "generated"}
    assert origin.fingerprint(files[:2]) != by_reading


def test_a_record_of_another_size_is_not_believed(folder):
    files = shard_files(folder)
    before = origin.fingerprint(files)
    files[0].with_name(f"{files[0].name}.json").write_text(json.dumps({"size": 1, "sha256": "0"}))
    assert origin.fingerprint(files) == before
