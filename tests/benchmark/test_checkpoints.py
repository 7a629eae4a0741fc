"""A checkpoint is used only where it is whole, fits, and goes with the rows that are there; nothing is deleted."""

import dataclasses
import random
import time

import jax.numpy as jnp
import numpy as np
import pytest

from agents.bc import BC
from benchmark.common.errors import UserError
from benchmark.loop.checkpoints import CHECKSUMS, Checkpoints, damage_of
from benchmark.loop.segments import init_states
from benchmark.runs.protocol import Online, Protocol
from benchmark.runs.record import RunDirectory
from envs.family import family_of
from envs.tasks import get_task
from envs.toy.world import ToyWorld
from tests.helpers.loop import training_of
from tests.helpers.worlds import D, FakeWorld, O

SMALL = BC.Config(hidden=(16, 16), batch_size=4, flow_steps=2)
PROTOCOL = Protocol(steps=12, eval_every=6, eval_episodes=3, eval_first=True, log_every=2, checkpoint_every=4)


class Cut(Exception):
    pass


def train(path, config=SMALL, at=None, code=None, say=lambda text: None):
    """Train, and cut it at a step."""

    def cut(what, done, total):
        if what == "training" and done == at:
            raise Cut

    with RunDirectory(path) as directory:
        if code:
            directory.add_start({"code": code})
        training_of(directory, BC(config, O, D), PROTOCOL, FakeWorld(), say=say, on_progress=cut).run()


def cut_run(path, at=10, **options):
    with pytest.raises(Cut):
        train(path, at=at, **options)
    return path


def records(path):
    return {name: (path / name).read_text() for name in ("train.csv", "eval.csv")}


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    path = tmp_path_factory.mktemp("whole") / "run"
    train(path)
    return records(path)


def test_what_a_killed_process_had_begun_to_write_goes_when_the_run_goes_on(tmp_path):
    """A preempted job may leave one at each start; at paper size it is a gigabyte."""
    path = cut_run(tmp_path / "run")
    begun = [path / "checkpoints" / f"12.orbax-checkpoint-tmp{end}" / "states" for end in ("", "-17")]
    for folder in begun:
        folder.mkdir(parents=True)
        (folder / "part").write_text("half of a state")
    Checkpoints(path / "checkpoints", read_only=True).close()
    assert all(folder.exists() for folder in begun)
    Checkpoints(path / "checkpoints").close()
    assert sorted(folder.name for folder in (path / "checkpoints").iterdir()) == ["4", "8"]


def flip(path, bit):
    content = bytearray(path.read_bytes())
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)


def test_every_single_bit_that_flips_in_a_checkpoint_is_noticed(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    states = init_states(BC(SMALL, O, D), jnp.arange(3, dtype=jnp.uint32))
    checkpoints.save(4, states, {"clocks": {"train_seconds": 1.5}})
    checkpoints.close()
    folder = tmp_path / "4"
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.stat().st_size)
    assert damage_of(folder) == "" and len(files) > 8 and folder / CHECKSUMS in files
    chance = random.Random(0)
    chosen = files + chance.choices(files, [path.stat().st_size for path in files], k=40)
    for path in chosen:  # each file once, and forty bits wherever there are many
        bit = chance.randrange(8 * path.stat().st_size)
        flip(path, bit)
        assert damage_of(folder), f"bit {bit} of {path}"
        flip(path, bit)
    assert damage_of(folder) == ""


@pytest.mark.parametrize("content", [b"[]", b"", b"\xff", b"null"])
def test_checksums_that_are_no_checksums_are_damage(tmp_path, content):
    (tmp_path / CHECKSUMS).write_bytes(content)
    assert damage_of(tmp_path)


def test_a_damaged_checkpoint_is_renamed_and_said_and_the_one_before_is_used(tmp_path, whole):
    run = cut_run(tmp_path / "run")
    largest = max((run / "checkpoints" / "8").rglob("*"), key=lambda path: path.stat().st_size)
    flip(largest, 8 * largest.stat().st_size // 2)
    held = contents(run / "checkpoints" / "8")
    said = []
    train(run, say=said.append)
    assert records(run) == whole
    aside = run / "checkpoints" / "damaged-8"
    assert any(f"update 8 is damaged: {largest.relative_to(run / 'checkpoints' / '8')}" in text for text in said)
    assert any(str(aside) in text for text in said) and "continuing from step 4" in said
    assert contents(aside) == held


def test_a_second_damaged_checkpoint_of_an_update_is_kept_beside_the_first(tmp_path, whole):
    run = tmp_path / "run"
    for _ in range(2):
        cut_run(run)
        (run / "checkpoints" / "8" / CHECKSUMS).unlink()  # as of a run that is killed before it writes them
    train(run)
    assert records(run) == whole
    assert {path.name for path in (run / "checkpoints").iterdir()} == {"8", "12", "damaged-8", "damaged-8-2"}


def test_who_only_reads_a_checkpoint_renames_nothing(tmp_path):
    run = cut_run(tmp_path / "run")
    (run / "checkpoints" / "8" / CHECKSUMS).unlink()
    held, said = contents(run), []
    like = init_states(BC(SMALL, O, D), jnp.asarray([0, 3], jnp.uint32))
    update, _, _ = Checkpoints(run / "checkpoints", read_only=True).restore(like, said.append)
    assert update == 4 and "using the one before" in said[0] and contents(run) == held


@pytest.mark.parametrize("change", [{"hidden": (16, 8)}, {"hidden": (16,)}, {"hidden": (16, 16, 16)}])
def test_a_checkpoint_that_does_not_fit_is_an_error_that_says_what_differs_and_stays(tmp_path, whole, change):
    run = cut_run(tmp_path / "run")
    held = contents(run / "checkpoints")
    with pytest.raises(UserError) as caught:
        train(run, dataclasses.replace(SMALL, **change))
    told = str(caught.value)
    assert "checkpoints/8 does not fit the agent" in told and "--anew" in told and "\n" not in told
    if change["hidden"] == (16, 8):
        assert "/bias: (2, 16) float32, not (2, 8) float32" in told and "params/" in told
    assert contents(run / "checkpoints") == held
    train(run)
    assert records(run) == whole


def cut_lines(text):
    return "\n".join(text.splitlines()[:-4]) + "\n"


DAMAGE = {
    "gone": (None, r"is gone, with its {all} rows up to step 8"),
    "empty": (lambda text: "", r"has 0 of the {all} rows up to step 8"),
    "lines": (cut_lines, r"has \d of the {all} rows up to step 8"),
    "in a row": (lambda text: text[: len(text) // 2], r"has (\d of the|other numbers in its) {all} rows up to step 8"),
    "a digit": (lambda text: text.replace("0.", "1.", 1), r"has other numbers in its {all} rows up to step 8"),
    "a seed": (lambda text: text.replace("\n2,0,", "\n2,7,").replace("\n1,0,", "\n1,7,"), r"has other numbers"),
    "bytes": (lambda text: text[:60] + "\udcff" + text[61:], r"has \d of the {all} rows up to step 8"),
}


@pytest.mark.parametrize("table,rows", [("train.csv", 8), ("eval.csv", 4)])
@pytest.mark.parametrize("damage", DAMAGE)
def test_rows_that_are_cut_or_lost_are_named_and_nothing_is_continued_or_changed(tmp_path, whole, table, rows, damage):
    run = cut_run(tmp_path / "run", at=8)
    spoil, message = DAMAGE[damage]
    text = (run / table).read_text()
    if spoil is None:
        (run / table).unlink()
    else:
        (run / table).write_bytes(spoil(text).encode(errors="surrogateescape"))
    held = contents(run)
    with pytest.raises(UserError, match=f"run/{table} {message.format(all=rows)}.*put the file back.*--anew"):
        train(run)
    assert contents(run) == held
    (run / table).write_text(text)
    train(run)
    assert records(run) == whole


def test_rows_after_the_checkpoint_may_be_damaged_since_they_are_made_again(tmp_path, whole):
    run = cut_run(tmp_path / "run", at=10)
    (run / "train.csv").write_text((run / "train.csv").read_text()[:-9])
    train(run)
    assert records(run) == whole


def test_clocks_and_divergence_are_those_of_the_checkpoint(tmp_path):
    run = cut_run(tmp_path / "run")
    RunDirectory(run).set_status(train_seconds=1e9, diverged={"3": 2})
    train(run)
    status = RunDirectory(run).status
    assert status["train_seconds"] < 1e6 and status["diverged"] == {}


def test_code_that_went_on_with_a_run_marks_it_and_code_that_left_nothing_does_not(tmp_path):
    one, other = "a" * 64, "b" * 64
    run = cut_run(tmp_path / "run", at=2, code=other)  # before any checkpoint
    cut_run(run, at=6, code=one)
    assert RunDirectory(run).status["code"] == [one]
    cut_run(run, at=6, code=other)  # from step 4, and not to another checkpoint
    assert RunDirectory(run).status["code"] == [one, other]
    cut_run(run, at=10, code=one)
    assert RunDirectory(run).status["code"] == [one]
    said = []
    train(run, code=other, say=said.append)
    assert RunDirectory(run).status["code"] == [one, other]
    assert any("the code has changed since" in text for text in said)


def train_online(path, at=None):
    task = get_task("toy-detour")
    agent = BC(BC.Config(hidden=(8,), batch_size=8, chunk_length=2, flow_steps=2), 2, 2)
    protocol = Protocol(steps=6, eval_every=6, eval_episodes=3, eval_first=False, log_every=3, checkpoint_every=6)

    def cut(what, done, total):
        if what == "training" and done == at:
            raise Cut

    with RunDirectory(path) as directory:
        options = dict(online=Online(18, start=5), live=family_of(task).open_live(task, (0,)))
        training_of(directory, agent, protocol, ToyWorld(task), (0,), on_progress=cut, **options).run()


@pytest.mark.slow
def test_a_damaged_or_lost_file_of_a_replay_is_named_and_all_is_kept(tmp_path):
    run = tmp_path / "run"
    with pytest.raises(Cut):
        train_online(run, at=21)
    assert {path.name for path in (run / "replay").iterdir()} == {"6.npz", "12.npz"}
    for name in ("6.npz", "12.npz"):
        path = run / "replay" / name
        content = path.read_bytes()
        flip(path, 8 * len(content) // 2)
        with pytest.raises(UserError, match=rf"replay/{name} is damaged.*checkpoint of step 18.*--anew"):
            train_online(run)
        path.unlink()
        with pytest.raises(UserError, match=rf"replay/{name} is gone"):
            train_online(run)
        path.write_bytes(content)
    train_online(run)
    train_online(tmp_path / "whole")
    assert records(run) == records(tmp_path / "whole")


def test_the_files_of_150_megabytes_are_verified_in_a_fraction_of_a_second(tmp_path):
    (tmp_path / "array").write_bytes(np.random.default_rng(0).bytes(150_000_000))
    (tmp_path / CHECKSUMS).write_text("{}")
    started = time.process_time()
    assert damage_of(tmp_path)
    assert time.process_time() - started < 2, "sha256 takes 0.1 s here, 0.6 s on a processor without its instructions"
