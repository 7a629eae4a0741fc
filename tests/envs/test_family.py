"""The kinds of task answer alike, and asking one for names loads neither JAX nor a simulator."""

import subprocess
import sys
from pathlib import Path

import pytest

from benchmark.common.errors import UserError
from benchmark.launching import cost
from benchmark.planning.plan import plan
from benchmark.planning.protocols import get_protocol
from benchmark.planning.suites import get_suite
from envs.family import FAMILIES, family_of
from envs.tasks import TASKS, get_task

ROOT = Path(__file__).resolve().parents[2]
CUBE, SHARDS = (f"cube-{count}-play-singletask-task1-v0" for count in ("single", "quadruple"))


def test_asking_for_names_and_paths_loads_neither_jax_nor_a_simulator():
    code = """
import sys
from envs.family import family_of
from envs.tasks import TASKS
for task in TASKS.values():
    family_of(task).data_path(task, "data"), family_of(task).source
print(*{"jax", "flax", "mujoco", "gymnasium", "ogbench", "h5py"} & set(sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "\n"


def test_every_task_is_of_a_kind_that_says_where_its_data_lie(tmp_path):
    paths = {name: family_of(task).data_path(task, str(tmp_path)) for name, task in TASKS.items()}
    assert paths[CUBE] == tmp_path / "cube-single-play-v0.npz"
    assert paths[SHARDS] == tmp_path / "cube-quadruple-play-100m-v0"
    assert paths["pen-human-v1"] == tmp_path / "d4rl/hand_dapg_v1/pen-human-v1.hdf5"
    assert paths["toy-modes"] is None
    assert {task.domain.family for task in TASKS.values()} == set(FAMILIES)


def test_what_lacks_data_says_which_files(tmp_path):
    lacking = {name: family_of(task).missing(task, str(tmp_path)) for name, task in TASKS.items()}
    assert len(lacking[SHARDS]) == 100 and lacking["toy-modes"] == []
    assert lacking[CUBE] == [("cube-single-play-v0.npz", 229_000_000)]
    assert lacking["pen-human-v1"] == [("d4rl/hand_dapg_v1/pen-human-v1.hdf5", None)]


@pytest.mark.parametrize(("name", "why"), [("toy-modes", "made in code"), ("pen-human-v1", "a published file")])
def test_a_kind_whose_data_cannot_be_generated_says_why(name, why):
    task = get_task(name)
    with pytest.raises(UserError, match=f"'{name}' cannot be generated, it .*{why}"):
        family_of(task).check_generated(task)


def test_the_estimate_leaves_out_domains_whose_sizes_are_not_known(tmp_path):
    said = []
    for suite in map(get_suite, ("d4rl", "toy")):
        protocol = get_protocol(suite.protocol)
        specs = plan(suite, agents=["fql"], tasks=suite.tasks, seeds=(0,), protocol=protocol, out=str(tmp_path))
        assert cost.estimate(specs, [], said.append) == []
    assert not said
