"""Experts: trained alike whether they were stopped or not, read only as they were written, and what they walk."""

import dataclasses
import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from benchmark.common.errors import Stopped, UserError
from envs import train_expert
from envs.experts import training
from envs.experts.bodies import BODIES
from envs.experts.policy import EXPERTS, PARAMETERS, Expert, read_expert, write_expert
from envs.experts.training import Training, train
from envs.family import family_of
from envs.files.local import record_path
from envs.generate import main
from envs.ogbench.episodes import EXPLORE_STEPS, RECIPES, Collector
from envs.ogbench.generating import generate, validation_path
from envs.tasks import get_task
from tests.helpers.walkers import parameters_of_a_walker

LENGTH = 21  # rows per episode


@pytest.fixture
def walker(tmp_path) -> Path:
    """The folder of an expert for the ant that never learned anything."""
    write_expert(tmp_path / "walker", parameters_of_a_walker(29, 8), {"body": "ant", "trained": 0})
    return tmp_path / "walker"


@pytest.fixture
def small_ant(monkeypatch):
    """An ant whose training takes a second."""
    small = dataclasses.replace(
        BODIES["ant"],
        steps=230,
        random_steps=60,
        episode_steps=40,
        log_every=50,
        eval_every=100,
        settings=dict(hidden=(8,), critic_hidden=(8,), batch_size=16),
    )
    monkeypatch.setitem(BODIES, "ant", small)
    monkeypatch.setattr(training, "EVAL_EPISODES", 1)
    monkeypatch.setattr(training, "FINAL_EPISODES", 2)
    return small


def records(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in ("train.csv", "eval.csv", PARAMETERS)}


def killed_at(step: int):
    def say(now: int, news: str) -> None:
        if now == step:
            raise KeyboardInterrupt

    return say


def test_a_checkpoint_of_another_training_is_not_gone_on_with(small_ant, tmp_path):
    stops = iter([False, True])
    with pytest.raises(Stopped):
        train("ant", tmp_path / "run", stopped=lambda: next(stops))
    (tmp_path / "run/config.json").unlink()
    with pytest.raises(UserError, match=r"checkpoint.*is of another training: .*'seed': 0.*move .*run away"):
        train("ant", tmp_path / "run", seed=1)


@pytest.mark.slow
def test_a_training_that_was_stopped_or_killed_ends_with_the_same_numbers(small_ant, tmp_path):
    train("ant", tmp_path / "whole")
    stops = iter([False, True])
    with pytest.raises(Stopped, match="stopped at step 80 of 230; the same command goes on"):
        train("ant", tmp_path / "stopped", stopped=lambda: next(stops))
    train("ant", tmp_path / "stopped")
    for step in (80, 200):  # before and after the first checkpoint
        with pytest.raises(KeyboardInterrupt):
            train("ant", tmp_path / "killed", say=killed_at(step))
    train("ant", tmp_path / "killed")
    assert records(tmp_path / "whole") == records(tmp_path / "stopped") == records(tmp_path / "killed")
    rows = (tmp_path / "whole" / "train.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in rows[1:]] == ["80", "120", "160", "200", "230"]
    _, card = read_expert(tmp_path / "whole", "ant")
    assert card["trained"] == 230 and card["evaluated"]["episodes"] == 2 and len(card["commits"][0]) == 40
    assert len(json.loads((tmp_path / "killed" / "provenance.json").read_text())) == 3


def test_a_step_of_training_learns_from_the_transition_that_it_made(small_ant, tmp_path):
    """One update from step 60 on, each after its transition, and the replay holds what the environment said."""
    train("ant", tmp_path / "ant")
    asked = json.loads((tmp_path / "ant" / "config.json").read_text())
    learner = Training(asked, small_ant, tmp_path / "ant", lambda step, news: None).learner
    rows = learner.rows
    assert int(learner.made) == 230 and int(learner.state.step) == 230 - 60 + 1
    within = np.arange(229) % 40 != 39
    np.testing.assert_array_equal(
        np.asarray(rows.next_observations)[:229][within], np.asarray(rows.observations)[1:230][within]
    )
    assert np.asarray(rows.masks).all(), "an episode that is cut goes on for the critic"
    assert np.abs(rows.actions).max() <= 1 and np.asarray(rows.actions)[:59].std() == pytest.approx(3**-0.5, abs=0.05)


def test_another_training_in_the_folder_is_refused(small_ant, tmp_path):
    train("ant", tmp_path, steps=1)
    with pytest.raises(UserError, match=r"has a training with seed 0 \(asked: 3\); choose another --out"):
        train("ant", tmp_path, seed=3, steps=1)
    (tmp_path / training.CHECKPOINT).write_bytes(b"cut")
    with pytest.raises(UserError, match="cannot be read"):
        train("ant", tmp_path, steps=1)


@pytest.mark.parametrize("name", ["config.json", "provenance.json"])
@pytest.mark.parametrize("content", ['{"body": "an', "7", "\udcff", ""])
def test_a_record_that_cannot_be_read_is_named_with_what_to_do_and_left_as_it_is(small_ant, name, content, tmp_path):
    (tmp_path / name).write_text(content, errors="surrogateescape")
    told = f"{tmp_path / name} cannot be read .*; move {tmp_path} away to begin again"
    with pytest.raises(UserError, match=told) as error:
        train("ant", tmp_path, steps=1)
    assert "\n" not in str(error.value)
    assert {path.name for path in tmp_path.iterdir()} == {name, ".lock"}


def test_a_body_without_a_recipe_is_named_with_the_nearest():
    with pytest.raises(UserError, match=r"unknown body 'humanoids' \(did you mean 'humanoid'\?\); allowed: ant, human"):
        train_expert.main(["--body=humanoids"])


def test_an_expert_is_read_only_as_it_was_written(walker, tmp_path):
    expert, card = read_expert(walker, "ant")
    assert (
        isinstance(expert, Expert) and card["sha256"] == hashlib.sha256((walker / PARAMETERS).read_bytes()).hexdigest()
    )
    with pytest.raises(UserError, match="moves the ant, not the humanoid"):
        read_expert(walker, "humanoid")
    with pytest.raises(UserError, match=r"no expert for the ant .*train one: python -m envs.train_expert --body=ant"):
        read_expert(tmp_path / "nowhere", "ant")
    content = bytearray((walker / PARAMETERS).read_bytes())
    content[-1] ^= 1
    (walker / PARAMETERS).write_bytes(content)
    with pytest.raises(UserError, match=r"is not the file that its card.json describes"):
        read_expert(walker, "ant")
    (walker / PARAMETERS).write_bytes(b"a pickle, perhaps")
    with pytest.raises(UserError, match="cannot be read"):
        read_expert(walker, "ant")


def test_episodes_of_walkers_do_not_depend_on_the_number_of_processes(walker, tmp_path):
    made = [
        generate("antmaze-teleport-stitch", 2 * (LENGTH - 1), 0, tmp_path / name, workers, False, LENGTH, expert=walker)
        for name, workers in (("one.npz", 1), ("two.npz", 2))
    ]
    assert made[0].read_bytes() == made[1].read_bytes()
    assert validation_path(made[0]).read_bytes() == validation_path(made[1]).read_bytes()
    data = np.load(made[0])
    assert data["observations"].shape == (2 * LENGTH, 29) and data["actions"].shape == (2 * LENGTH, 8)
    assert np.flatnonzero(data["terminals"]).tolist() == [LENGTH - 1, 2 * LENGTH - 1]
    record = json.loads(record_path(made[0]).read_text())
    assert record["source"] == "generated"
    assert record["expert"] == record["expert_card"]["sha256"] == read_expert(walker, "ant")[1]["sha256"]


def test_data_of_another_expert_are_not_taken_for_these(walker, tmp_path):
    asked = ("antmaze-medium-explore", LENGTH - 1, 0, tmp_path / "maze.npz", 1, False, LENGTH)
    generate(*asked, expert=walker)
    write_expert(walker, parameters_of_a_walker(29, 8, seed=1), {"body": "ant"})
    with pytest.raises(UserError, match=r"exists with expert \w{64} \(asked: \w{64}\)"):
        generate(*asked, expert=walker)


def test_mazes_without_their_expert_are_refused_before_any_work(tmp_path):
    with pytest.raises(
        UserError, match=r"'humanoidmaze-medium-stitch' cannot be generated: there is no expert .*--body"
    ):
        main(["--dataset=humanoidmaze-medium-stitch-v0", f"--out={tmp_path / 'data'}"])
    with pytest.raises(UserError, match="--expert is for mazes in which a body walks, not for 'cube-single-play'"):
        main(["--dataset=cube-single-play", f"--expert={tmp_path}", f"--out={tmp_path / 'data'}"])
    assert not (tmp_path / "data").exists()


def seen_by_the_expert(collector: Collector) -> tuple[np.ndarray, np.ndarray, dict]:
    """What an episode's expert sees: observations (n, 27) and directions (n, 2); and the episode."""
    seen = []
    collector._script.expert = lambda x: seen.append(x) or np.zeros(8, np.float32)  # type: ignore[union-attr]
    episode = collector.episode(0, 0, 0, 0)
    return np.array(seen)[:, :27], np.array(seen)[:, 27:], episode


def test_explorers_change_their_direction_every_ten_steps(walker):
    observations, directions, episode = seen_by_the_expert(Collector("antmaze-large-explore", 42, walker))
    np.testing.assert_array_equal(observations.astype(np.float32), episode["observations"][:, 2:])
    np.testing.assert_allclose(np.linalg.norm(directions, axis=1), 1, rtol=1e-5)
    changes = np.flatnonzero((np.diff(directions, axis=0) != 0).any(axis=1)) + 1
    assert changes.tolist() == list(range(EXPLORE_STEPS, 42, EXPLORE_STEPS))
    assert episode["actions"].std() > 0.6, "noise of standard deviation 1, clipped"


def test_navigators_head_for_the_next_cell_with_a_fifth_of_noise(walker):
    collector = Collector("antmaze-large-navigate", 42, walker)
    _, directions, episode = seen_by_the_expert(collector)
    maze = collector._script.env.unwrapped  # whose goal is that of the start: who stands still reaches none
    places = episode["observations"][:, :2].astype(float)
    ways = [maze.get_oracle_subgoal(place, maze.cur_goal_xy)[0] - place for place in places]
    np.testing.assert_allclose(directions, ways / np.linalg.norm(ways, axis=1, keepdims=True), rtol=1e-4, atol=1e-4)
    assert episode["actions"].std() == pytest.approx(0.2, abs=0.03)


def test_the_ant_that_is_here_reaches_goals_in_the_maze():
    read_expert(EXPERTS / "ant", "ant")
    episodes = [Collector("antmaze-large-navigate", 301).episode(0, 0, 0, number) for number in range(3)]
    paths = [np.linalg.norm(np.diff(episode["observations"][:, :2], axis=0), axis=1).sum() for episode in episodes]
    assert sum(path > 20 for path in paths) >= 2, "of 39 that it walks in 30 s, unless it has fallen on its back"
    assert any(episode["reached"].any() for episode in episodes)


def test_the_ant_that_is_here_solves_a_task_of_the_benchmark():
    """What the data show can be done where policies are evaluated."""
    expert, _ = read_expert(EXPERTS / "ant", "ant")
    task = get_task("antmaze-large-navigate-singletask-task3-v0")
    env = family_of(task).make_env(task)
    maze, (observation, _), over = env.unwrapped, env.reset(seed=0), False
    while not over:
        way = maze.get_oracle_subgoal(maze.get_xy(), maze.cur_goal_xy)[0] - maze.get_xy()
        observation, _, solved, cut, _ = env.step(
            expert(np.concatenate([observation[2:], way / np.linalg.norm(way)])).clip(-1, 1)
        )
        over = solved or cut
    assert solved


def test_recipes_of_walkers_are_the_published_ones():
    """Against the command lines with which OGBench's files were made."""
    facts = {
        "antmaze-medium-navigate": (1000, 1001, 0.2),
        "antmaze-giant-navigate": (500, 2001, 0.2),
        "antmaze-giant-stitch": (5000, 201, 0.2),
        "antmaze-teleport-explore": (10000, 501, 1.0),
        "humanoidmaze-large-navigate": (1000, 2001, 0.2),
        "humanoidmaze-giant-navigate": (1000, 4001, 0.2),
        "humanoidmaze-giant-stitch": (10000, 401, 0.2),
    }
    for name, (episodes, length, noise) in facts.items():
        recipe = RECIPES[name]
        assert (recipe.episodes, recipe.episode_length, recipe.noise) == (episodes, length, noise)
    assert "antmaze-giant-explore" not in RECIPES
    assert sum(bool(recipe.body) for recipe in RECIPES.values()) == 11 + 6
