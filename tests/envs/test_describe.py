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
