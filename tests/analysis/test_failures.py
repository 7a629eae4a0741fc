"""Where policies fail, read off single episodes."""

import numpy as np
import pandas as pd
import pytest

from analysis.failures import main
from analysis.reading.episodes import FILE, read_episodes
from benchmark.common.errors import UserError
from envs.family import family_of
from envs.play.worker import parts_at_end
from envs.tasks import get_task

TASK = "cube-double-play-singletask-task2-v0"
SOLVED = {0: [1, 1, 0, 0], 1: [1, 0, 1, 0]}
"""Of each seed, on the same four episodes."""
LENGTHS = [100, 200, 500, 500]


def write(folder, seed, own=False, **columns):
    solved = np.array(SOLVED[seed], float)
    rows = pd.DataFrame({"pass": "report", "agent": "rql", "task": TASK, "step": 1000, "seed": seed}, index=range(4))
    rows = rows.assign(episode_seed=seed if own else 7, episodes_of=1000, flow_steps=10, episode=range(4))
    rows = rows.assign(success=solved, length=np.where(solved == 1, LENGTHS, 500), chosen=np.nan)
    rows = rows.assign(**{"return": 0.0, **columns})
    folder.mkdir(parents=True, exist_ok=True)
    rows.to_csv(folder / FILE, index=False)
    return rows


@pytest.fixture
def folder(tmp_path):
    parts = {0: ([1, 1, 0, 0], [1, 1, 0, 0]), 1: ([1, 1, 1, 0], [1, 0, 1, 0])}
    for seed, (first, second) in parts.items():
        write(tmp_path / f"seed-{seed}", seed, **{"part: block 0": first, "part: block 1": second})
    return tmp_path


def said(folder, capsys):
    main([str(folder)])
    return capsys.readouterr().out


def test_ends_lengths_agreement_and_parts_are_told(folder, capsys):
    text = said(folder, capsys)
    assert text.startswith(f"rql on {TASK} (step=1000, flow_steps=10)")
    assert "8 episodes of 2 policies: 4 solved (50%), 4 at the time limit of 500 steps\n" in text
    assert "solved after 150 steps (median; 10% within 100, 90% within 410)" in text
    assert "policies solve from 50% to 50%; of 4 episodes that all played, all solve 25%, none 25%" in text
    assert "failed episodes end with 0 of 2 in 3, 1 of 2 in 1 in place; not in place: block 0 75%, block 1 100%" in text


def test_episodes_that_end_before_the_limit_unsolved_are_counted_apart(tmp_path, capsys):
    write(tmp_path, 0, length=[100, 200, 300, 500])
    assert "2 solved (50%), 1 at the time limit of 500 steps, 1 ended before it" in said(tmp_path, capsys)


def test_policies_that_played_other_episodes_are_not_matched(tmp_path, capsys):
    for seed in SOLVED:
        write(tmp_path / str(seed), seed, own=True)
    assert "each of other episodes (the same: benchmark.evaluate --seeds)" in said(tmp_path, capsys)


def test_an_episode_counts_once_and_of_a_sweep_only_the_chosen_setting(tmp_path):
    rows = write(tmp_path, 0)
    sweep = rows.assign(chosen=[1, 0, 1, 0], episode_seed=9)
    selection = rows.assign(**{"pass": "selection"})
    pd.concat([rows, rows.assign(success=1.0), sweep, selection]).to_csv(tmp_path / FILE, index=False)
    found = read_episodes([tmp_path, tmp_path])
    assert len(found) == 4 + 2 and found.query("episode_seed == 7")["success"].tolist() == [1.0] * 4


def test_variants_of_a_label_and_labels_of_an_agent_are_told_apart(tmp_path, capsys):
    for i, variant in enumerate(("00000001", "1e100000")):  # no numbers, though they could be read as such
        write(tmp_path / f"setting-{i}/seeds-0", 0, label="mine", hyperparameters=variant)
    write(tmp_path / "other/seeds-0", 0, label="other", hyperparameters="1e100000")
    write(tmp_path / "before/seeds-0", 0)
    told = said(tmp_path, capsys)
    heads = [line for line in told.splitlines() if " on " in line]
    assert sorted(heads) == [
        f"mine on {TASK} (hyperparameters=00000001, step=1000, flow_steps=10)",
        f"mine on {TASK} (hyperparameters=1e100000, step=1000, flow_steps=10)",
        f"other on {TASK} (step=1000, flow_steps=10)",
        f"rql on {TASK} (step=1000, flow_steps=10)",
    ]
    assert told.count("4 episodes of 1 policy") == 4


def test_a_policy_that_was_played_from_its_run_and_by_itself_counts_once(tmp_path, capsys):
    run = tmp_path / "seeds-0-1"
    write(run, 0)  # before there were labels
    write(run / "policies/seed-0", 0, label="mine", hyperparameters="00000001")
    write(run / "policies/seed-1", 1, label="mine", hyperparameters="00000001")
    write(run / "policies/step-500/seed-1", 1, label="mine", hyperparameters="00000001", step=500)
    assert len(read_episodes([tmp_path])) == 4 + 4 + 4
    assert f"mine on {TASK} (step=1000, flow_steps=10)\n  8 episodes of 2 policies" in said(tmp_path, capsys)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "no table"),
        (b"a,b\n1,2\n", "no column 'pass'"),
        (b"\xff\xfe\x00", "no table"),
        (None, "no episodes.csv below"),
    ],
)
def test_what_cannot_be_read_is_told_in_a_line(tmp_path, content, told):
    if content is not None:
        (tmp_path / FILE).write_bytes(content)
    with pytest.raises(UserError, match=told) as error:
        main([str(tmp_path)])
    assert "\n" not in str(error.value)


class Scene:
    """What a manipulation environment of OGBench says of its parts."""

    unwrapped = property(lambda self: self)

    def _compute_successes(self):
        return [True], [False, True], np.bool_(True), np.bool_(False)


class Maze:
    unwrapped = None


INFO = {"privileged/block_0_pos": 0, "privileged/block_0_yaw": 0, "privileged/button_0_state": 1}
INFO |= {"privileged/button_1_state": 0, "privileged/drawer_pos": 0, "privileged/window_pos": 0, "success": 0.0}


def test_the_parts_of_a_scene_are_named_in_its_own_order():
    found = parts_at_end(Scene(), INFO)
    assert found == {"block 0": 1, "button 0": 0, "button 1": 1, "drawer": 1, "window": 0}
    assert set(parts_at_end(Scene(), INFO | {"success": 1.0}).values()) == {1.0}
    assert parts_at_end(Scene(), {"success": 0.0}) == parts_at_end(Maze(), INFO) == {}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("task", "names"),
    [
        (TASK, ["block 0", "block 1"]),
        ("scene-play-singletask-task2-v0", ["block 0", "button 0", "button 1", "drawer", "window"]),
        ("puzzle-3x3-play-singletask-task4-v0", [f"button {i}" for i in range(9)]),
    ],
)
def test_ogbenchs_environments_say_which_parts_are_in_place(task, names):
    env = family_of(get_task(task)).make_env(get_task(task))
    env.reset(seed=0)
    *_, info = env.step(np.zeros(5))
    found = parts_at_end(env, info)
    env.close()
    assert list(found) == names and 0.0 in found.values()


def test_episodes_of_runs_that_were_set_aside_do_not_count(folder):
    counted = len(read_episodes([folder]))
    write(folder / ".seeds-0-before", 1)
    assert len(read_episodes([folder])) == counted
