"""Films: what is seen is what was counted, and the file holds what it should."""

import dataclasses
import json
import shutil
import signal

import imageio.v2 as imageio
import numpy as np
import pytest

from benchmark.common.errors import UserError
from benchmark.evaluate import main
from benchmark.loop.worker import execute
from benchmark.planning.suites import SUITES
from benchmark.runs.clips import FOLDER, read_clips, record_of
from benchmark.runs.protocol import Protocol
from benchmark.runs.run import RunSpec
from benchmark.runs.table import Table
from benchmark.watching.at_the_end import film_together
from benchmark.watching.encoding import check_encoder, encode
from benchmark.watching.films import HELD_SECONDS, Film, choose, make_film, shoot
from benchmark.watching.picture import Panel, picture, size_of
from benchmark.watching.playing import Played, Taken, play
from envs.family import family_of
from envs.play.camera import View
from envs.play.pool import EpisodeResults, EvaluationPool
from envs.play.renderer import choose_renderer
from envs.tasks import get_task
from tests.helpers.simulated_runs import write_run

PROTOCOL = Protocol(steps=20, eval_every=10, eval_episodes=9, eval_first=False, log_every=10, checkpoint_every=10)
SMALL = dict(hidden=(8,), batch_size=16, flow_steps=2)


def trained(out, agent="bc", task="toy-detour"):
    """The spec of a finished run of two seeds."""
    spec = RunSpec(agent, task, (0, 3), SMALL, PROTOCOL, str(out))
    execute(spec, quiet=True)
    return spec


@pytest.fixture(scope="module")
def specs(tmp_path_factory):
    """Runs of two agents on a toy, that are only read."""
    out = tmp_path_factory.mktemp("detour")
    return [trained(out), trained(out, "fql")]


@pytest.fixture(scope="module")
def detour(specs):
    """The first of them."""
    return specs[0].path


@pytest.fixture(scope="module")
def modes(tmp_path_factory):
    """One of another agent on another toy, that is only read."""
    return trained(tmp_path_factory.mktemp("modes"), "fql", "toy-modes").path


def last_moment(played, index, view=None):
    """How an episode ends before the camera."""
    return list(family_of(played.task).open_camera(played.task, view or View(64, 48)).show(played.episode(index)))[-1]


# -------------------------------------------------------------------------------- what is seen is what was counted


@pytest.mark.parametrize("run", ["detour", "modes"])
@pytest.mark.parametrize("seed", [0, 3])
def test_the_filmed_episodes_are_those_that_the_run_recorded(run, seed, request):
    path = request.getfixturevalue(run)
    played = play(path, seed)
    ends = [last_moment(played, index) for index in range(9)]
    (row,) = [row for row in Table(path / "eval.csv").rows if (row["step"], row["seed"]) == (20, seed)]
    assert all(end.ended for end in ends)
    assert np.mean([end.success for end in ends]) == pytest.approx(row["success"], rel=1e-8)
    assert np.mean([end.total for end in ends]) == pytest.approx(row["return"], rel=1e-8)
    assert np.mean([end.length for end in ends]) == row["length"]


def test_an_episode_is_the_same_whatever_is_played_beside_it(modes):
    every, some = play(modes), play(modes, only=[5, 2])
    assert some.actions.keys() == {2, 5}
    for index in some.actions:
        assert some.shown(index) == every.shown(index)
        assert (some.actions[index] == every.actions[index]).all()


def test_a_policy_that_was_handed_on_is_filmed_as_its_run_is(modes, tmp_path):
    shutil.copytree(modes / "policies" / "seed-3", tmp_path / "handed")
    film = tmp_path / "film.mp4"
    assert main([f"--policy={tmp_path / 'handed'}", f"--video={film}", "--films=2", "--size=64x48"]) == 0
    (clip,), reasons = read_clips(tmp_path)
    expected = play(modes, 3, only=[0, 1])
    assert not reasons and clip.episodes == tuple((expected.shown(index),) for index in (0, 1))


@pytest.mark.parametrize(
    "asked, message",
    [
        (["--video=film.mp4", "--seeds=5"], "without --seeds"),
        (["--video=film.mp4", "--task=toy-modes"], "without --task"),
        (["--video=film.mp4", "--seed=0"], "seed 0 of .* has diverged, or its policy is not here"),
        (["--clips"], "--clips are of a run"),
    ],
)
def test_what_a_policy_without_its_run_cannot_be_asked_for_is_refused(asked, message, modes, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(modes / "policies" / "seed-3", tmp_path / "handed")
    with pytest.raises(UserError, match=message):
        main(["--policy=handed", *asked])
    assert not list(tmp_path.glob("film*"))


def test_an_episode_that_does_not_go_again_as_it_was_counted_makes_no_film(modes, tmp_path):
    played = play(modes, only=[0])
    wrong = dataclasses.replace(played, results=dataclasses.replace(played.results, success=np.full(9, 0.987)))
    with pytest.raises(UserError, match="episode 0 of fql did not go again as it was counted"):
        shoot([wrong], [0], tmp_path / "film.mp4", "chosen", View(64, 48), 1, 0.0)
    assert not list(tmp_path.iterdir())


def renderer_or_skip():
    try:
        choose_renderer()
    except UserError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("name", ["cube-single-play-singletask-task1-v0", "antmaze-large-navigate-singletask-task1-v0"])
def test_a_simulators_episode_is_filmed_as_it_was_counted(name, tmp_path):
    renderer_or_skip()
    task, seeds, number, steps = get_task(name), [4, 6], 70, 10
    size = 5 if name.startswith("cube") else 8

    def policy(observations, ids):
        noise = [np.random.default_rng(one).uniform(-1.5, 1.5, (5, size)) for one in ids.reshape(-1, 4)]
        return np.reshape(noise, (*ids.shape[:2], 5, size)) + 0.01 * observations.mean(-1)[..., None, None]

    with EvaluationPool(task.name, 4, max_episode_steps=steps) as pool:
        every = Taken(policy, 1, 6, number, range(3))
        results = pool.evaluate(every, seeds, 3, number, active=[False, True])[1]
        again = Taken(policy, 1, 6, number, [2])
        only = pool.evaluate(again, seeds, 3, number, active=[False, True], only=[2])[1]
    assert (only.success[2], only.returns[2], only.lengths[2]) == (results.success[2], results.returns[2], steps)
    assert np.isnan(only.success[:2]).all() and (again.actions()[2] == every.actions()[2]).all()
    clip = shoot(
        [Played("me", task, 6, number, results, every.actions())], [2], tmp_path / "a.mp4", "best", View(), 4, 0.0
    )
    frames = [np.asarray(frame) for frame in imageio.get_reader(clip.path)]
    rate = max(10, (20 if name.startswith("cube") else 10) / 4)
    assert clip.rate == rate and len(frames) == clip.frames == 4 + round(HELD_SECONDS * rate)  # steps 0, 4, 8, 10
    assert {frame.shape for frame in frames} == {(clip.height, clip.width, 3)} == {(254, 200, 3)}
    shown = frames[-1][60:].astype(int)
    assert shown.std() > 10 and np.abs(shown - frames[0][60:]).max() > 20  # something is there, and has moved


# ------------------------------------------------------------------------------------------------------- the film


def test_a_film_of_two_policies_has_the_pictures_and_the_record_that_it_should(specs, tmp_path, capsys):
    detour, other = (spec.path for spec in specs)
    film = tmp_path / "film.mp4"
    asked = [f"--run={detour}", f"--compare={other}", f"--video={film}", "--films=2", "--size=96x64", "--every=10"]
    assert main([*asked, "--seed=3"]) == 0
    (clip,), reasons = read_clips(tmp_path)
    assert reasons == [] and clip.policies == ("bc", "fql") and (clip.kind, clip.task) == ("chosen", "toy-detour")
    for index, shown in enumerate(clip.episodes):
        assert shown == tuple(play(run, 3, only=[index]).shown(index) for run in (detour, other))
    frames = [np.asarray(frame) for frame in imageio.get_reader(film)]
    longest = [max(each.length for each in shown) for shown in clip.episodes]
    assert len(frames) == clip.frames == sum(1 + -(-steps // 10) + round(HELD_SECONDS * 10) for steps in longest)
    assert {frame.shape for frame in frames} == {(clip.height, clip.width, 3)} == {(118, 196, 3)}
    said = capsys.readouterr().out
    assert (
        "seed 3, episode 1: bc failure, step 130, return -130, fql" in said
        and f"{film}: {clip.frames} pictures" in said
    )


def test_a_gif_is_a_film_too(modes, tmp_path):
    clip = make_film(Film((modes,), tmp_path / "film.gif", episodes=2, view=View(64, 64)))
    assert len(imageio.mimread(clip.path)) == 4  # pictures that do not change are held
    assert read_clips(tmp_path) == ([clip], [])


def test_the_best_and_the_worst_episode_are_filmed_for_the_report(modes):
    assert main([f"--run={modes}", "--clips", "--size=64x64"]) == 0
    clips = {clip.kind: clip for clip in read_clips(modes / FOLDER)[0]}
    success = play(modes).results.success
    assert clips["best"].episodes[0][0].success == success.max() > success.min()
    assert clips["worst"].episodes[0][0].success == success.min()


def test_episodes_are_chosen_by_what_came_of_them():
    results = EpisodeResults(np.array([0, 1, 1, 0, 1.0]), np.array([-9, -5, -4, -3, -4.0]), np.array([9, 6, 7, 3, 5]))
    chosen = {choice: choose(results, choice, 2) for choice in ("first", "successes", "failures", "best", "worst")}
    assert chosen == {"first": [0, 1], "successes": [1, 2], "failures": [0, 3], "best": [4, 2], "worst": [0, 3]}
    assert choose(results, "failures", 9) == [0, 3]


def test_text_that_is_too_long_is_cut_and_stays_in_its_panel():
    grey = np.full((50, 61, 3), 128, np.uint8)
    made = picture("t" * 300, [Panel(grey, "n" * 300, "s" * 300), Panel(grey, "", "")])
    assert made.shape[1::-1] == size_of(2, 61, 50) == (126, 104)
    assert (made[18:54, 61:] == 255).all() and (made[54:, :61] == 128).all()


# ------------------------------------------------------------------------------------------------ what cannot be


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (["--video=film.avi"], r"'film.avi' must end in .mp4 or .gif"),
        (["--video=film.mp4", "--show=succeses"], r"did you mean 'successes'"),
        (["--video=film.mp4", "--size=20x4000"], "--size must be WxH of 32 to 2048"),
        (["--video=film.mp4", "--size=big"], "--size must be WxH"),
        (["--video=film.mp4", "--seed=1"], "has no seed 1, but 0, 3"),
        (["--video=film.mp4", "--films=10"], "is evaluated on 9 episodes, 0 to 8; there is no 9"),
        (["--video=film.mp4", "--camera=side"], "has no camera 'side'"),
        (["--video=film.mp4", "--show=successes"], "there are no successes among the 9 episodes of bc"),
        (["--video=film.mp4", "--sweep=a=1,2"], "without --sweep"),
        (["--clips", "--set=a=1"], "--compare and --set are for --video"),
        (["--clips", "--show=failures"], "the best and the worst episode .* --show is for --video"),
        (["--clips", "--films=5"], "--films is for --video"),
        (["--clips", "--every=7"], "--every is for --video"),
        (["--clips", "--episodes-of=10"], "of the last evaluation.* --episodes-of is for --video"),
        (["--clips", "--episodes-of=0"], "--episodes-of is for --video"),
    ],
)
def test_a_film_that_cannot_be_is_told_in_a_line_and_leaves_nothing(detour, asked, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=said):
        main([f"--run={detour}", *asked])
    assert not list(tmp_path.iterdir())


def test_policies_of_different_tasks_are_not_filmed_side_by_side(detour, modes, tmp_path):
    with pytest.raises(UserError, match="of one task, not of toy-detour and toy-modes"):
        main([f"--run={detour}", f"--compare={modes}", f"--video={tmp_path / 'film.mp4'}"])


def test_where_nothing_renders_the_message_says_why_and_what_to_install_before_anything_is_played(
    tmp_path, monkeypatch
):
    monkeypatch.setenv("MUJOCO_GL", "cardboard")
    run = write_run(tmp_path, "bc", "cube-single-play-singletask-task1-v0")
    with pytest.raises(UserError, match=r"nothing renders here \(cardboard: .*cardboard.*libegl1.*libosmesa6"):
        main([f"--run={run}", "--clips"])


def test_what_cannot_be_drawn_is_told(tmp_path):
    run = write_run(tmp_path, "bc", "pen-human-v1")
    with pytest.raises(UserError, match="episodes of 'pen-human-v1' cannot be filmed"):
        main([f"--run={run}", "--clips"])


def test_a_missing_encoder_is_told_before_anything_is_played(tmp_path, monkeypatch):
    program = tmp_path / "ffmpeg"
    program.write_text("#!/bin/sh\necho ' V....D mpeg4 something else'\n")
    program.chmod(0o755)
    for place, said in ((program, "has no encoder libx264"), (tmp_path / "gone", "no encoder for MP4")):
        monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(place))
        with pytest.raises(UserError, match=f"{said}.*imageio-ffmpeg.*or name a film.gif"):
            check_encoder(tmp_path / "film.mp4")
    check_encoder(tmp_path / "film.gif")


def test_a_film_that_breaks_off_leaves_the_one_before_as_it_was(tmp_path):
    film = tmp_path / "film.mp4"
    picture = np.zeros((64, 64, 3), np.uint8)
    assert encode([picture] * 5, film, 10) == 5
    before = film.read_bytes()

    def breaking():
        yield picture
        raise UserError("the camera fell")

    with pytest.raises(UserError, match="the camera fell"):
        encode(breaking(), film, 10)
    assert film.read_bytes() == before and list(tmp_path.iterdir()) == [film]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (dict(file="../film.mp4"), "not the film beside it"),
        (dict(file="film.exe"), "not the film beside it"),
        (dict(schema=2), "schema 2"),
        (dict(episodes=[[]]), "not one of every policy"),
        (dict(policies=[1]), "policies are not names"),
        (dict(frames="many"), "frames is 'many', not a whole number"),
    ],
)
def test_a_record_that_is_none_is_named_and_left_out(modes, tmp_path, change, said):
    clip = make_film(Film((modes,), tmp_path / "film.gif", view=View(64, 64)))
    record = record_of(clip.path)
    record.write_text(json.dumps(json.loads(record.read_text()) | change))
    clips, (reason,) = read_clips(tmp_path)
    assert clips == [] and said in reason


# ---------------------------------------------------------------------------------------- at the end of a suite


def test_only_the_quickstart_ends_with_a_film():
    assert [name for name, suite in SUITES.items() if suite.filmed] == ["quickstart"]


def test_a_launch_ends_with_a_film_of_its_finished_runs_side_by_side(specs, tmp_path):
    unfinished = RunSpec("rql", "toy-detour", (0,), {}, PROTOCOL, str(tmp_path))
    (line,) = film_together([*specs, unfinished], tmp_path)
    (clip,), _ = read_clips(tmp_path / FOLDER)
    assert line.startswith(f"clip: {clip.path}: {clip.frames} pictures") and clip.policies == ("bc", "fql")


@pytest.fixture
def heeded_interrupts():
    """A shell's background jobs, of which tests may be one, ignore Ctrl-C, and so would what they start."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("heeded_interrupts")
def test_a_film_that_fails_at_the_end_is_a_line_and_nothing_more(specs, tmp_path, monkeypatch):
    assert film_together(specs, tmp_path, seconds=0.01) == ["no clip: it was not there after 0.01 s"]
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(tmp_path / "gone"))
    (line,) = film_together(specs, tmp_path)
    assert line.startswith("no clip: toy-detour.mp4: no encoder for MP4")
    assert not (tmp_path / FOLDER).exists()
