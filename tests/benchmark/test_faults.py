"""What happens to a run that cannot write, or that is asked to stop: it says so, and no row is lost."""

import shutil
import signal
import subprocess
import time

import pytest

from agents.bc import BC
from benchmark.common.errors import Stopped, UserError
from benchmark.loop.checkpoints import CHECKSUMS
from benchmark.loop.offline import Training
from benchmark.loop.stopping import STOP_SIGNALS, signals_for_this_process_alone
from benchmark.loop.worker import execute
from benchmark.runs.protocol import Protocol
from benchmark.runs.record import RunDirectory
from tests.benchmark.test_status import SPEC
from tests.helpers.disk import fill
from tests.helpers.loop import training_of
from tests.helpers.worlds import D, FakeWorld, O

AGENT = BC(BC.Config(hidden=(16, 16), batch_size=4, flow_steps=2), O, D)
PROTOCOL = Protocol(steps=12, eval_every=6, eval_episodes=3, eval_first=True, log_every=2, checkpoint_every=4)


def train(path, at=None, do=lambda: None, **options):
    """Train, and at a step of training do something."""

    def on_progress(what, done, total):
        if what == "training" and done == at:
            do()

    with RunDirectory(path) as directory:
        training_of(directory, AGENT, PROTOCOL, FakeWorld(), on_progress=on_progress, **options).run()


def records(path):
    return {name: (path / name).read_text() for name in ("train.csv", "eval.csv")}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    path = tmp_path_factory.mktemp("whole") / "run"
    train(path)
    return records(path)


@pytest.mark.parametrize("at", [2, 4])  # before any checkpoint, and after one
def test_a_full_disk_is_named_and_after_it_no_row_is_lost(small_disk, whole, at):
    run = small_disk / "run"
    with pytest.raises(UserError, match=r"cannot write .*No space left on device"):
        train(run, at, lambda: fill(small_disk))
    (small_disk / "filler").unlink()
    train(run)
    assert records(run) == whole


def test_a_checkpoint_that_does_not_fit_is_named_and_the_one_before_is_used(small_disk, whole, monkeypatch):
    run = small_disk / "run"
    save = Training.after_row

    def after_row(self, *arguments):
        if self.step == 8:
            self.checkpoints.wait()
            monkeypatch.setattr(self.checkpoints, "save", filled(self.checkpoints.save))
        save(self, *arguments)

    def filled(save):
        def save_to_a_full_disk(*arguments):
            fill(small_disk)
            save(*arguments)

        return save_to_a_full_disk

    monkeypatch.setattr(Training, "after_row", after_row)
    with pytest.raises(UserError, match=r"cannot write the checkpoint of update 8 to .*/checkpoints: .*"):
        train(run)
    monkeypatch.undo()
    (small_disk / "filler").unlink()
    said = []
    with RunDirectory(run) as directory:
        training_of(directory, AGENT, PROTOCOL, FakeWorld(), say=said.append).run()
    assert "continuing from step 4" in said
    assert records(run) == whole


def test_a_folder_that_vanishes_is_named_and_the_run_can_be_made_again(tmp_path, whole):
    run = tmp_path / "out" / "run"

    def vanish():
        while not (run / "checkpoints" / "4" / CHECKSUMS).exists():
            time.sleep(0.01)
        shutil.rmtree(tmp_path / "out")

    with pytest.raises(UserError, match=r"cannot write .*/(train.csv|status.json): No such file or directory"):
        train(run, 6, vanish)
    train(run)
    assert records(run) == whole


def test_a_folder_that_vanishes_does_not_hide_what_was_wrong(tmp_path, monkeypatch):
    def fail(run, quiet):
        shutil.rmtree(tmp_path / "out")
        raise ValueError("the first error")

    monkeypatch.setattr("benchmark.loop.worker.train_run", fail)
    spec = SPEC.__class__(**{**SPEC.__dict__, "out": str(tmp_path / "out")})
    with pytest.raises(ValueError, match="the first error"):
        execute(spec, quiet=True)
    assert not spec.path.exists()


def test_what_steps_the_environments_does_not_see_the_signals_that_ask_to_stop():
    with signals_for_this_process_alone():
        worker = subprocess.Popen(["sleep", "60"])
    try:
        for number in STOP_SIGNALS:
            worker.send_signal(number)
        with pytest.raises(subprocess.TimeoutExpired):
            worker.wait(0.3)
    finally:
        worker.kill()
        assert worker.wait() == -signal.SIGKILL


@pytest.mark.parametrize("at", [2, 6, 10])
def test_a_run_that_is_asked_to_stop_saves_after_its_row_and_goes_on_from_there(tmp_path, whole, at):
    asked = []
    with pytest.raises(Stopped, match=f"saved at step {at}"):
        train(tmp_path / "run", should_stop=lambda: asked.append(1) or 2 * len(asked) == at)
    train(tmp_path / "run")
    assert records(tmp_path / "run") == whole
