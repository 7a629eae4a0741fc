"""What is said of a maze's dataset, against episodes whose facts are known."""

import json

import numpy as np
import pytest

from benchmark.common.errors import UserError
from envs.describe import main
from envs.files.local import record_path
from envs.ogbench.describing import cell_visits, describe, read_walks


@pytest.fixture
def file(tmp_path):
    """Two episodes in pointmaze-large, whose cells are 4 wide: one walks from the first cell two to the right, 0.5 a
    step; the other stands.
    """
    path = tmp_path / "pointmaze-large-navigate-v0.npz"
    walk = np.stack([np.arange(0, 8.5, 0.5), np.zeros(17)], 1)
    positions = np.concatenate([walk, np.zeros((3, 2))]).astype(np.float32)
    terminals = np.zeros(20, bool)
    terminals[[16, 19]] = True
    np.savez(path, observations=positions, actions=np.zeros((20, 2), np.float32), terminals=terminals)
    record_path(path).write_text(json.dumps({"episodes_reaching_a_goal": 1, "goals_reached": 3}))
    return path


def test_facts_are_those_of_the_episodes(file):
    facts = describe(read_walks(file))
    assert (facts["rows"], facts["episodes"], facts["rows of an episode"]) == ("20", "2", "3 to 17")
    assert facts["speed, mean (5% to 95%), 1/s"] == "4.44 (0.00 to 5.00)"  # 16 of 18 steps of 0.5 in 0.1 s
    assert facts["path of an episode, mean"] == "4"
    assert facts["free cells visited"].startswith("3 of ")
    assert facts["free cells of an episode, mean"] == "2.0"
    assert (facts["episodes that reach a goal"], facts["goals of an episode, mean"]) == ("50.0%", "1.5")


def test_visits_are_counted_in_the_mazes_own_cells(file):
    walks = read_walks(file)
    visits = cell_visits(walks)
    assert visits.sum() == 20
    assert visits[1, 1:4].tolist() == [4 + 3, 8, 5]
    cells = [walks.maze.xy_to_ij(place) for place in np.concatenate(walks.positions)]
    assert all(visits[cell] for cell in cells)


def test_files_stand_side_by_side_with_a_picture_of_each(file, capsys, tmp_path):
    other = file.with_name("pointmaze-large-navigate-v0-val.npz")
    other.write_bytes(file.read_bytes())
    out = tmp_path / "coverage.png"
    assert main([str(file), str(other), "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert "pointmaze-large-navigate-v0-val.npz" in said and "episodes that reach a goal" in said
    assert out.stat().st_size > 10_000


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [("cube-single-play-v0.npz", b"", "name of a maze's"), ("antmaze-large-navigate-v0.npz", b"no", "not a whole")],
)
def test_what_is_no_dataset_of_a_maze_is_refused(tmp_path, name, content, said):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=said):
        main([str(tmp_path / name)])


ROWS = dict(observations=np.zeros((5, 2), np.float32), actions=np.zeros((5, 2), np.float32))
ROWS |= dict(terminals=np.array([0, 0, 0, 0, 1], bool))


@pytest.mark.parametrize(
    ("odd", "said"),
    [
        (dict(observations=np.zeros((5, 1), np.float32)), r"observations has shape \(5, 1\), not \(rows, 2\)"),
        (dict(observations=np.zeros((5, 29), np.float32)), r"observations has shape \(5, 29\), not \(rows, 2\)"),
        (dict(observations=np.full((5, 2), "far")), "observations holds text"),
        (dict(observations=np.full((5, 2), 1e30, np.float32)), r"observations holds 1e\+30 in row 0"),
        (dict(observations=np.full((5, 2), 1e6, np.float32)), "no position lies in the maze"),
        (dict(terminals=np.ones(5, bool)), "no episode has two rows"),
        (dict(terminals=np.array([1, 1, 1, 1, 0])), "no episode has two rows"),
        (dict(terminals=np.zeros((5, 2), bool)), r"terminals has shape \(5, 2\), not \(rows,\)"),
        (dict(terminals=np.array([0, 0, 2, 0, 1])), "terminals holds 2 in row 2: it must be 0 or 1"),
    ],
)
def test_an_odd_file_is_refused_with_what_is_wrong(tmp_path, odd, said):
    path = tmp_path / "pointmaze-large-navigate-v0.npz"
    np.savez(path, **ROWS | odd)
    with pytest.raises(UserError, match=f"{path}.*: .*{said}"):
        main([str(path), "--out", str(tmp_path / "coverage.png")])


def test_a_record_that_is_no_record_of_the_file_is_refused(file):
    record_path(file).write_text(json.dumps({"goals_reached": "three"}))
    with pytest.raises(UserError, match="goals_reached is 'three', not a number"):
        main([str(file)])
