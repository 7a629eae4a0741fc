"""W&B gets a copy of the records; whatever goes wrong there, the run goes on."""

import sys
import types

import pytest

import run_all
from benchmark.common.errors import UserError
from benchmark.loop.experiment import Watch
from benchmark.loop.recorder import Recorder
from benchmark.loop.running import tracked
from benchmark.loop.tracking import Tracker
from benchmark.loop.worker import execute
from benchmark.planning.protocols import PROTOCOLS
from benchmark.planning.run import Run
from benchmark.runs.record import RunDirectory
from benchmark.runs.run import RunSpec
from benchmark.runs.table import Table


class FakeRun:
    """Stands for W&B's run; keeps what it is told."""

    def __init__(self, fail_at=None):
        self.rows, self.fail_at, self.finished = [], fail_at, False

    def define_metric(self, *_, **__):
        pass

    def log(self, row):
        if len(self.rows) == self.fail_at:
            raise ConnectionError("no network")
        self.rows.append(row)

    def finish(self):
        self.finished = True


@pytest.fixture
def wandb(monkeypatch):
    """A stand-in for the package."""
    module = types.ModuleType("wandb")
    module.run, module.asked = FakeRun(), []

    def init(**options):
        module.asked.append(options)
        return module.run

    module.init = init
    monkeypatch.setitem(sys.modules, "wandb", module)
    return module


OPTIONS = {"project": "mine", "mode": "offline"}
CONFIG = {"agent": "bc", "task": "toy-modes"}


def test_each_row_is_sent_once_with_its_seed(wandb, tmp_path):
    table, tracker = Table(tmp_path / "train.csv"), Tracker(OPTIONS, tmp_path, CONFIG)
    for step in (10, 20):
        for seed in (0, 3):
            table.add(step, seed, {"loss": step + seed})
        tracker.send(train=table)
    tracker.close()
    expected = [{"step": s, "train/loss/seed-0": s, "train/loss/seed-3": s + 3} for s in (10, 20)]
    assert wandb.run.rows == expected and wandb.run.finished
    assert wandb.asked[0]["mode"] == "offline" and wandb.asked[0]["resume"] == "allow"


def test_an_error_of_wandb_ends_the_tracking_and_nothing_else(wandb, tmp_path):
    wandb.run, said = FakeRun(fail_at=1), []
    table, tracker = Table(tmp_path / "train.csv"), Tracker(OPTIONS, tmp_path, CONFIG, said.append)
    for step in (10, 20, 30):
        table.add(step, 0, {"loss": 1.0})
        tracker.send(train=table)
    tracker.close()
    assert len(wandb.run.rows) == 1
    assert said == ["W&B: ConnectionError: no network; the run goes on without it"]


def test_a_real_run_sends_training_and_evaluation(wandb, tmp_path):
    settings = dict(hidden=[8], flow_steps=2, batch_size=8)
    spec = RunSpec("bc", "toy-modes", (0,), settings, PROTOCOLS["toy"].scaled_to(2), str(tmp_path), wandb=OPTIONS)
    execute(spec, quiet=True)
    assert any("eval/success/seed-0" in row for row in wandb.run.rows)
    assert any("train/loss/seed-0" in row for row in wandb.run.rows)
    assert "wandb" not in (spec.path / "config.json").read_text()


def test_an_evaluation_that_ends_after_training_is_sent_too(wandb, tmp_path):
    spec = RunSpec("bc", "toy-modes", (0,), {}, PROTOCOLS["toy"].scaled_to(2), str(tmp_path), wandb=OPTIONS)
    recorder = Recorder(RunDirectory(tmp_path), spec.seeds, Watch())
    with tracked(Run(spec), recorder, Watch()) as watch:
        recorder.train_table.add(2, 0, {"loss": 1.0})
        watch.on_progress("training", 2, 2)
        recorder.eval_table.add(2, 0, {"success": 0.5})
    assert wandb.run.rows == [{"step": 2, "train/loss/seed-0": 1.0}, {"step": 2, "eval/success/seed-0": 0.5}]
    assert wandb.run.finished


def test_without_the_package_the_front_door_says_how_to_get_it(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(UserError, match=r"pip install -r requirements-wandb\.txt"):
        run_all.main(["--suite=toy", "--wandb=mine", f"--out={tmp_path / 'out'}"])
    with pytest.raises(UserError, match="--wandb-offline needs --wandb"):
        run_all.main(["--suite=toy", "--wandb-offline", f"--out={tmp_path / 'out'}"])


def test_a_run_that_is_begun_anew_in_its_folder_is_a_new_one_and_a_resumed_one_is_not(wandb, tmp_path):
    with RunDirectory(tmp_path) as directory:
        for time in ("2026-01-01", "2026-01-02"):
            directory.add_start({"time": time})
            Tracker(OPTIONS, tmp_path, CONFIG)
        (tmp_path / "provenance.json").unlink()
        directory.add_start({"time": "2026-01-03"})
        Tracker(OPTIONS, tmp_path, CONFIG)
    first, resumed, anew = (each["id"] for each in wandb.asked)
    assert first == resumed != anew
