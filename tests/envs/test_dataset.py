"""Samplers equal their closed forms, on trajectories of unequal length; files that are wrong are named."""

import zipfile

import jax
import numpy as np
import pytest
from ogbench.relabel_utils import relabel_dataset
from ogbench.utils import load_dataset

from benchmark.common.errors import UserError
from envs.data.dataset import from_transitions, load, read_rows
from envs.data.environment import make_env
from envs.data.samplers import sample_sequences, sample_trajectories
from envs.tasks import get_task
from tests.helpers.worlds import D, transitions

LENGTHS = (9, 1, 14, 3, 7, 5, 2)
GAMMA = 0.9


def draw(sampler, *arguments):
    """A batch as numpy arrays."""
    return jax.tree.map(np.asarray, sampler(*arguments))


@pytest.fixture(scope="module")
def rows():
    return transitions(LENGTHS)


@pytest.fixture(scope="module")
def data(rows):
    return from_transitions(**rows)


def row_of(rows, observation) -> int:
    """The transition that starts at this observation; all are different."""
    return int(np.flatnonzero((rows["observations"] == observation).all(1))[0])


def expected_sequence(rows, i, H):
    """B.3 by its step-wise recursion, for the window that starts at transition i."""
    valid, reward, mask, following = 1.0, 0.0, 1.0, None
    last_valid = 1.0
    for j in range(H):
        if valid:
            reward += GAMMA**j * rows["rewards"][i + j]
            mask = min(mask, rows["masks"][i + j])
            following = rows["next_observations"][i + j]
        last_valid = valid
        valid *= 1 - rows["terminals"][i + j]
    return reward, mask, following, last_valid


@pytest.mark.parametrize("H", [1, 3, 5])
def test_sequences_equal_the_step_by_step_definition(rows, data, H):
    batch = draw(sample_sequences, data, jax.random.PRNGKey(H), 400, H, GAMMA)
    size, seen = len(rows["actions"]), set()
    for b in range(400):
        i = row_of(rows, batch.observations[b])
        seen.add(i)
        reward, mask, following, valid = expected_sequence(rows, i, H)
        np.testing.assert_allclose(batch.rewards[b], reward, rtol=1e-6)
        assert batch.masks[b] == mask
        assert batch.valid[b] == valid
        np.testing.assert_array_equal(batch.next_observations[b], following)
        np.testing.assert_array_equal(batch.actions[b], rows["actions"][i : i + H].ravel())
    assert seen == set(range(size - H + 1)), "every window, and none beyond the end, can be drawn"


def test_sequences_of_one_step_use_every_transition_with_its_true_next_observation(rows, data):
    batch = draw(sample_sequences, data, jax.random.PRNGKey(0), 600, 1, GAMMA)
    assert (batch.valid == 1).all()
    assert {row_of(rows, o) for o in batch.observations} == set(range(len(rows["actions"])))


def test_sequence_starts_are_uniform(data):
    batch = draw(sample_sequences, data, jax.random.PRNGKey(1), 40_000, 5, GAMMA)
    _, counts = np.unique(np.asarray(batch.observations), axis=0, return_counts=True)
    expected = 40_000 / (data.size - 4)
    assert len(counts) == data.size - 4
    assert np.abs(counts - expected).max() < 5 * expected**0.5


@pytest.mark.parametrize("H", [1, 3, 5])
def test_trajectories_equal_the_table_of_distances(rows, data, H):
    batch = draw(sample_trajectories, data, jax.random.PRNGKey(H), 300, H, GAMMA)
    last = np.cumsum(LENGTHS) - 1
    trajectory = np.repeat(np.arange(len(LENGTHS)), LENGTHS)
    for b in range(300):
        x = row_of(rows, batch.observations[b])
        end = last[trajectory[x]]
        k = end - x
        assert k >= 1, "the last row of a trajectory is never a start"
        window = np.minimum(x + np.arange(H + 1), end)
        weights = GAMMA ** np.arange(H) * (np.arange(H) <= k)
        np.testing.assert_allclose(batch.rewards[b], (weights * rows["rewards"][window[:H]]).sum(), rtol=1e-6)
        np.testing.assert_array_equal(batch.next_observations[b], rows["observations"][window[H]])
        assert batch.masks[b] == rows["masks"][window[H - 1]]
        assert batch.valid[b] == (k >= H - 1)
        np.testing.assert_array_equal(batch.actions[b], rows["actions"][window[:H]].ravel())
        np.testing.assert_array_equal(batch.action_weights[b], np.repeat(np.arange(H) <= k, D))


def test_trajectories_are_drawn_uniformly_whatever_their_length(rows, data):
    batch = draw(sample_trajectories, data, jax.random.PRNGKey(3), 30_000, 1, GAMMA)
    starts = np.array([row_of(rows, o) for o in np.unique(np.asarray(batch.observations), axis=0)])
    assert len(starts) == sum(length - 1 for length in LENGTHS)
    first = {tuple(o): 0 for o in rows["observations"]}
    for o in np.asarray(batch.observations):
        first[tuple(o)] += 1
    counts = np.array([first[tuple(o)] for o in rows["observations"]])
    per_trajectory = np.add.reduceat(counts, np.cumsum([0, *LENGTHS[:-1]]))
    usable = np.array(LENGTHS) > 1
    assert per_trajectory[~usable].sum() == 0
    expected = 30_000 / usable.sum()
    assert np.abs(per_trajectory[usable] - expected).max() < 5 * expected**0.5


def test_no_trajectory_twice_in_a_batch_when_there_are_more_than_it_needs(rows, data):
    trajectory = np.repeat(np.arange(len(LENGTHS)), LENGTHS)
    for seed in range(20):
        batch = draw(sample_trajectories, data, jax.random.PRNGKey(seed), 5, 3, GAMMA)
        drawn = [trajectory[row_of(rows, o)] for o in batch.observations]
        assert len(set(drawn)) == 5


def test_observations_are_stored_once(rows, data):
    assert data.observations.shape[0] == len(rows["actions"]) + len(LENGTHS)


TASK = get_task("cube-single-play-singletask-task1-v0")


def write(path, **changes):
    """A file in OGBench's format, with arrays changed or (None) left out."""
    arrays = dict(
        observations=np.zeros((20, 28), np.float32),
        actions=np.zeros((20, 5), np.float32),
        terminals=np.arange(20) % 10 == 9,
        qpos=np.zeros((20, 21), np.float32),
        qvel=np.zeros((20, 20), np.float32),
    )
    arrays = {name: value for name, value in {**arrays, **changes}.items() if value is not None}
    np.savez_compressed(path, **arrays)
    return path


def test_a_truncated_file_is_named(tmp_path):
    path = write(tmp_path / "cut.npz")
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(UserError, match=r"cut\.npz is damaged or incomplete"):
        read_rows(path)


def test_arrays_are_read_as_numpy_reads_them(tmp_path):
    rows = np.arange(140, dtype=np.float32).reshape(20, 7)
    path = write(tmp_path / "odd.npz", observations=np.asfortranarray(rows), actions=rows[:, :0], qpos=rows[:, 0])
    found = read_rows(path)
    with np.load(path) as expected:
        for name, values in found.items():
            np.testing.assert_array_equal(values, expected[name], strict=True)
    assert found["observations"].flags.f_contiguous and found["actions"].shape == (20, 0)


@pytest.mark.parametrize(("rows", "reason"), [(19, "is longer than its header says"), (21, "ends early")])
def test_an_array_unlike_its_header_is_named(tmp_path, rows, reason):
    path = write(tmp_path / "odd.npz")
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    members["actions.npy"] = members["actions.npy"].replace(b"(20, 5)", f"({rows}, 5)".encode())
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    with pytest.raises(UserError, match=reason):
        read_rows(path)


def test_python_objects_are_refused(tmp_path):
    with pytest.raises(UserError, match="actions holds Python objects"):
        read_rows(write(tmp_path / "odd.npz", actions=np.array([None] * 20)))


def test_a_file_without_actions_is_named(tmp_path):
    with pytest.raises(UserError, match=r"not an OGBench dataset.*actions"):
        read_rows(write(tmp_path / "odd.npz", actions=None))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"no dataset at .*absent\.npz"):
        read_rows(tmp_path / "absent.npz")


def test_arrays_of_different_lengths_are_named(tmp_path):
    with pytest.raises(UserError, match="damaged"):
        read_rows(write(tmp_path / "uneven.npz", actions=np.zeros((19, 5), np.float32)))


@pytest.mark.parametrize("terminals", [np.zeros(20), np.arange(20) == 9])
def test_a_file_that_ends_within_a_trajectory_is_named(tmp_path, terminals):
    with pytest.raises(UserError, match="its last row does not end a trajectory"):
        load(TASK, write(tmp_path / "cut.npz", terminals=terminals), make_env(TASK))


@pytest.mark.parametrize("terminals", ["regular", "trajectories without a transition"])
def test_a_file_is_loaded_as_ogbench_loads_and_relabels_it(tmp_path, terminals):
    rng = np.random.default_rng(0)
    ends = np.arange(60) % 10 == 9
    if terminals != "regular":
        ends[[0, 18, 58]] = True
    env = make_env(TASK)
    env.reset()
    qpos = rng.standard_normal((60, 21)).astype(np.float32)
    qpos[::4, 14:17] = env.unwrapped._data.mocap_pos[0]  # every fourth row solves the task
    path = write(
        tmp_path / "rows.npz",
        observations=rng.standard_normal((60, 28)).astype(np.float32),
        actions=rng.uniform(-1, 1, (60, 5)).astype(np.float32),
        terminals=ends,
        qpos=qpos,
        qvel=np.zeros((60, 20), np.float32),
    )
    theirs = load_dataset(str(path), add_info=True)
    relabel_dataset("cube-single-singletask-task1-v0", env, theirs)
    names = ("observations", "actions", "rewards", "masks", "terminals", "next_observations")
    expected = from_transitions(**{name: theirs[name] for name in names})
    found = load(TASK, path, env, clip_actions=False)
    assert 0 < expected.masks.sum() < expected.size
    for name in ("observations", "actions", "rewards", "masks", "trajectory", "first", "last", "candidates"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name), err_msg=name)
