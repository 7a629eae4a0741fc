"""Number by number against D4RL's own code, where the package is installed; nothing that needs mujoco_py is run.

The package's files are run without their imports. Its functions that build mazes and make starts, goals, observations,
rewards and terminations are called on stand-ins that hold our simulation's states.
"""

from __future__ import annotations

import ast
import importlib.util
import os
import re
import shutil
import tempfile
import xml.etree.ElementTree as ElementTree
from copy import deepcopy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import mujoco
import numpy as np
import pytest
from ogbench.locomaze.ant import AntEnv

from envs.d4rl import environments as d4rl_environments
from envs.d4rl.adroit import OUTCOMES
from envs.d4rl.antmaze import MAZES, MazeAnt
from envs.tasks import D4RL_TASKS

SPEC = importlib.util.find_spec("d4rl")
ROOT = Path((SPEC and SPEC.origin) or ".").parent
pytestmark = pytest.mark.skipif(SPEC is None, reason="the package d4rl is not installed (requirements-d4rl.txt)")
ORIGINAL_MAZES = {"umaze": "U_MAZE_TEST", "medium": "BIG_MAZE_TEST", "large": "HARDEST_MAZE_TEST"}


def names_of(file: str, **imported: Any) -> dict[str, Any]:
    """Run a file of the package without its imports, and return its names."""
    tree = ast.parse((ROOT / file).read_text())
    tree.body = [node for node in tree.body if not isinstance(node, ast.Import | ast.ImportFrom)]
    scope = {"np": np, "os": os, "ET": ElementTree, "tempfile": tempfile, "deepcopy": deepcopy, **imported}
    scope |= {"gym": SimpleNamespace(Env=object), "__file__": str(ROOT / file)}
    exec(compile(tree, file, "exec"), scope)
    return scope


def bases() -> dict[str, Any]:
    """Empty classes that the environments inherit from."""
    kinds = {"mujoco_env": "MujocoEnv", "utils": "EzPickle", "offline_env": "OfflineEnv"}
    return {name: SimpleNamespace(**{kind: type(kind, (), {})}) for name, kind in kinds.items()}


def test_addresses_and_reference_scores_are_the_packages() -> None:
    infos = names_of("infos.py")
    assert len(infos["DATASET_URLS"]) == 155
    for task in D4RL_TASKS:
        assert (
            infos["DATASET_URLS"][task.name] == f"{d4rl_environments.BASES[0]}/{d4rl_environments.file_of(task.name)}"
        )
        assert d4rl_environments.reference_scores(task) == (
            infos["REF_MIN_SCORE"][task.name],
            infos["REF_MAX_SCORE"][task.name],
        )


def test_limits_mazes_and_flags_are_the_registered_ones() -> None:
    registered: dict[str, dict[str, Any]] = {}
    maze_env = SimpleNamespace(**names_of("locomotion/maze_env.py"))
    names_of("locomotion/__init__.py", register=lambda **what: registered.update({what["id"]: what}), maze_env=maze_env)
    infos = SimpleNamespace(**names_of("infos.py"))
    hands = dict.fromkeys(("MujocoEnv", "DoorEnvV0", "HammerEnvV0", "PenEnvV0", "RelocateEnvV0"))
    register = dict(register=lambda **what: registered.update({what["id"]: what}), infos=infos)
    names_of("hand_manipulation_suite/__init__.py", **register, **hands)
    for task in D4RL_TASKS:
        assert registered[task.name]["max_episode_steps"] == task.domain.episode_limit, task.name
    for task in filter(d4rl_environments.is_maze, D4RL_TASKS):
        given = registered[task.name]["kwargs"]
        assert given["maze_map"] is getattr(maze_env, ORIGINAL_MAZES[task.name.split("-")[1]])
        assert (given["reward_type"], given["eval"], given["v2_resets"]) == ("sparse", True, True)
        assert (given["non_zero_reset"], given["maze_size_scaling"]) == (False, 4.0)


@pytest.fixture(scope="module", params=MAZES)
def pair(request: pytest.FixtureRequest) -> tuple[MazeAnt, Any, mujoco.MjModel]:
    """Our maze, D4RL's, and the model that D4RL's makes."""
    made = {}

    class Ant:
        FILE = str(ROOT / "locomotion/assets/ant.xml")

        def __init__(self, file_path: str, **_: Any):
            made["file"] = file_path

    names = names_of("locomotion/maze_env.py")
    theirs = type("Maze", (names["MazeEnv"],), {"LOCOMOTION_ENV": Ant})(names[ORIGINAL_MAZES[request.param]], 4.0)
    text = Path(made["file"]).read_text().replace(' material=""', "")
    os.unlink(made["file"])
    return MazeAnt(request.param), theirs, mujoco.MjModel.from_xml_string(text)


# What may differ: how things look and are called, and the motors, which are compared by their forces.
LOOKS = ("cam_", "light_", "mat_", "tex_", "name", "vis", "geom_rgba", "geom_matid", "stat")
MOTORS = ("actuator_gear", "actuator_ctrlrange", "actuator_acc0")
SIZES = ("ncam", "nlight", "nmat", "ntex", "ntexdata", "nbuffer", "nnames", "nnames_map", "signature")


def assert_same(ours: mujoco.MjModel, theirs: mujoco.MjModel) -> None:
    """Compare every number of two models but those of `LOOKS`, `MOTORS` and `SIZES`."""
    compared = 0
    for name in dir(ours):
        if name.startswith((*LOOKS, "_")) or name in MOTORS + SIZES:
            continue
        a, b = getattr(ours, name), getattr(theirs, name)
        if isinstance(a, int | float | np.ndarray):
            assert np.shape(a) == np.shape(b) and np.allclose(a, b, 0, 1e-12, equal_nan=True), name
            compared += 1
    assert compared > 200
    for name in dir(ours.opt):
        if isinstance(getattr(ours.opt, name), int | float | np.ndarray):
            assert np.array_equal(getattr(ours.opt, name), getattr(theirs.opt, name)), name


def test_the_compiled_models_are_the_same_but_for_their_looks(pair: tuple[MazeAnt, Any, mujoco.MjModel]) -> None:
    ours, theirs = pair[0].model, pair[2]
    assert_same(ours, theirs)
    gear = ours.actuator_gear[:, :1] * ours.actuator_ctrlrange
    assert np.array_equal(gear, theirs.actuator_gear[:, :1] * theirs.actuator_ctrlrange)


def test_the_same_draws_give_the_same_goal(pair: tuple[MazeAnt, Any, mujoco.MjModel]) -> None:
    ours, theirs, _ = pair
    for seed in range(20):
        np.random.seed(seed)
        goal = theirs.goal_sampler(np.random)
        np.random.seed(seed)
        np.random.choice(1)  # theirs chooses among one goal cell
        ours.reset_model()
        assert np.allclose(ours.goal, goal, rtol=0, atol=1e-12)


def test_starts_observations_rewards_and_ends_are_d4rls(pair: tuple[MazeAnt, Any, mujoco.MjModel]) -> None:
    ours = pair[0]
    goal_env = names_of("locomotion/goal_reaching_env.py")["GoalReachingEnv"]
    names = bases() | {"mujoco_goal_env": SimpleNamespace(__file__=str(ROOT / "locomotion/mujoco_goal_env.py"))}
    nothing = SimpleNamespace(MazeEnv=type("M", (), {}))
    ant = names_of(
        "locomotion/ant.py",
        **names,
        goal_reaching_env=SimpleNamespace(GoalReachingEnv=goal_env, disk_goal_sampler=None),
        maze_env=nothing,
        mujoco_py=SimpleNamespace(get_version=lambda: "2.1"),
    )["AntEnv"]

    class Theirs(ant):
        eval, reward_type, _expose_all_qpos, _expose_body_coms, _expose_body_comvels = True, "sparse", True, None, None
        _non_zero_reset, init_qpos, init_qvel, model = False, ours.init_qpos, ours.init_qvel, ours.model
        BASE_ENV = SimpleNamespace(step=lambda self, action: None, _get_obs=ant._get_obs)
        sim = SimpleNamespace(data=ours.data)

        def __init__(self) -> None:
            self._goal = self.target_goal = ours.goal

        def set_state(self, qpos: np.ndarray, qvel: np.ndarray) -> None:
            self.started = np.concatenate([qpos, qvel])

        _get_obs = goal_env._get_obs

    ours.reset(seed=3)
    for distance in (0.0, 0.3, 0.499, 0.501, 2.0):
        observation, _, _, _, _ = ours.step(np.zeros(8))
        ours.set_xy(ours.goal - [0, distance])
        there = bool(np.linalg.norm(ours.get_xy() - ours.goal) <= 0.5)
        seen, reward, done, _ = goal_env.step(Theirs(), None)
        assert (reward, done) == (float(there), there)
        assert np.array_equal(seen, ours.get_ob()) and len(observation) == len(seen) == 29

    class Draws:
        """The same numbers, whoever asks for them."""

        def uniform(self, low: float, high: float, size: int) -> np.ndarray:
            return np.linspace(low, high, size)

        def standard_normal(self, size: int) -> np.ndarray:
            return np.linspace(-1, 1, size)

        randn = standard_normal

    original = Theirs()
    original.np_random = Draws()
    original.reset_model()
    keep, ours.np_random = ours.np_random, Draws()
    try:
        AntEnv.reset_model(ours)
    finally:
        ours.np_random = keep
    assert np.allclose(ours.get_ob(), original.started, rtol=0, atol=1e-12)


def test_actions_become_the_same_forces() -> None:
    wrapper = names_of(
        "locomotion/wrappers.py", Env=object, Box=lambda low, high: None, Discrete=None, itertools=None, deque=None
    )["NormalizedBoxEnv"]
    given = {}
    inner = SimpleNamespace(
        action_space=SimpleNamespace(low=np.full(8, -30.0), high=np.full(8, 30.0), shape=(8,)),
        observation_space=None,
        step=lambda action: given.update(action=action) or (None, 0.0, False, {}),
    )
    actions = np.linspace(-1, 1, 8)
    wrapper(inner).step(actions)
    assert np.allclose(given["action"], 30 * actions)


@pytest.mark.parametrize("hand", OUTCOMES)
def test_adroits_rewards_ends_and_observations_are_d4rls(hand: str) -> None:
    pytest.importorskip("gymnasium_robotics")
    env = d4rl_environments.make_env(f"{hand}-human-v1")
    names = {"quat2euler": names_of("utils/quatmath.py")["quat2euler"], "euler2quat": None, "MjViewer": None}
    original = names_of(f"hand_manipulation_suite/{hand}_v0.py", **bases(), **names)[f"{hand.title()}EnvV0"]
    random = np.random.default_rng(0)
    most = 0.0
    for episode in range(3):
        env.reset(seed=episode)
        inner = env.unwrapped
        theirs = stand_in(original, inner)
        for _ in range(60):
            action = random.uniform(-1, 1, env.action_space.shape)
            seen, reward, ended, _, _ = env.step(action)
            seen_there, reward_there, ended_there, info = original.step(theirs, action)
            assert np.allclose(seen, seen_there, rtol=0, atol=1e-9) and ended == ended_there
            assert OUTCOMES[hand](inner.model, inner.data)[2] == info["goal_achieved"]
            most = max(most, abs(reward - reward_there))
            if ended:
                break
    assert most < 1e-9


def stand_in(original: Any, inner: Any) -> Any:
    """What D4RL's step looks at, holding the state of our simulation; simulating does nothing."""
    model, data = inner.model, inner.data
    number = {
        **{model.body(i).name: i for i in range(model.nbody)},
        **{model.site(i).name: i for i in range(model.nsite)},
    }
    views = SimpleNamespace(body_xpos=data.xpos, body_xquat=data.xquat, site_xpos=data.site_xpos)
    views.qpos, views.qvel, views.sensordata = data.qpos, data.qvel, data.sensordata
    sensors = SimpleNamespace(sensor_name2id=lambda name: model.sensor(name).id)
    theirs = SimpleNamespace(data=views, sim=SimpleNamespace(data=views, model=sensors), frame_skip=5)
    theirs.act_mid, theirs.act_rng, theirs.do_simulation = 0.0, 1.0, lambda action, steps: None
    theirs.get_obs = lambda: original.get_obs(theirs)
    sites = dict(S_grasp_sid="S_grasp", grasp_sid="S_grasp", eps_ball_sid="eps_ball", obj_t_sid="object_top")
    sites |= dict(obj_b_sid="object_bottom", tar_t_sid="target_top", tar_b_sid="target_bottom", handle_sid="S_handle")
    sites |= dict(tool_sid="tool", goal_sid="nail_goal", obj_bid="Object")
    sites["target_obj_sid"] = "S_target" if "S_target" in number else "target"
    for name, called in sites.items():
        setattr(theirs, name, number.get(called))
    if "target" in [model.site(i).name for i in range(model.nsite)]:
        theirs.target_obj_sid = model.site("target").id
    joints = [model.joint(i).name for i in range(model.njnt)]
    theirs.door_hinge_did = model.joint("door_hinge").dofadr[0] if "door_hinge" in joints else None
    if "object_top" in number:
        between = lambda a, b: float(np.linalg.norm(data.site(a).xpos - data.site(b).xpos))  # noqa: E731
        theirs.pen_length = between("object_top", "object_bottom")
        theirs.tar_length = between("target_top", "target_bottom")
    return theirs


@pytest.mark.parametrize("hand", OUTCOMES)
def test_the_hands_compiled_models_are_the_same_but_for_their_looks(hand: str, tmp_path: Path) -> None:
    pytest.importorskip("gymnasium_robotics")
    inner = d4rl_environments.make_env(f"{hand}-human-v1").unwrapped
    shutil.copytree(ROOT / "hand_manipulation_suite", tmp_path / "hand")
    for file in (tmp_path / "hand").rglob("*.xml"):
        # A rate for communication that MuJoCo dropped in 3.3.
        file.write_text(re.sub(r'\s+apirate="[^"]*"', "", file.read_text()))
    theirs = mujoco.MjModel.from_xml_path(str(tmp_path / f"hand/assets/DAPG_{hand}.xml"))
    # The sensitivities that D4RL sets after loading.
    for first, last, gain in (("A_WRJ1", "A_WRJ0", 10), ("A_FFJ3", "A_THJ0", 1)):
        some = slice(theirs.actuator(first).id, theirs.actuator(last).id + 1)
        theirs.actuator_gainprm[some, :3], theirs.actuator_biasprm[some, :3] = (gain, 0, 0), (0, -gain, 0)
    fresh = mujoco.MjModel.from_xml_path(inner.fullpath)  # what a reset places anew is where the file has it
    fresh.actuator_gainprm[:], fresh.actuator_biasprm[:] = inner.model.actuator_gainprm, inner.model.actuator_biasprm
    assert_same(fresh, theirs)
    assert inner.dt == pytest.approx(0.01) and inner.frame_skip == 5
