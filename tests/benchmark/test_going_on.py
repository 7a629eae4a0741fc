"""A run is gone on with: more updates of a finished one, and more seeds."""

import csv
import dataclasses
import json
import shutil

import pytest
from rich.console import Console

from benchmark import train
from benchmark.common.errors import UserError
from benchmark.launching import front_door, slurm
from benchmark.launching.ledger import Launch
from benchmark.launching.local import run_locally
from benchmark.loop.worker import execute
from benchmark.planning.missing import only_missing
from benchmark.planning.protocols import PROTOCOLS
from benchmark.planning.run import Run
from benchmark.runs.policies import policy_folder, read_card
from benchmark.runs.protocol import Generated, Online, Protocol
from benchmark.runs.record import RunDirectory, updates_before
from benchmark.runs.run import RunSpec
from envs.data.origin import fingerprint
from envs.files.local import sha256_of, write_record
from envs.toy.world import ToyWorld

PROTOCOL = Protocol(steps=4, eval_every=2, eval_episodes=4, eval_first=False, log_every=2, checkpoint_every=2)
LONGER = dataclasses.replace(PROTOCOL, steps=8)
SMALL = dict(hidden=(8,), batch_size=8, chunk_length=2, flow_steps=2)


def spec_of(out, protocol=PROTOCOL, seeds=(0, 3), **more):
    return RunSpec("bc", "toy-modes", seeds, SMALL, protocol, str(out), name="bc", **more)


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """The results of a finished run that kept its checkpoints; only read."""
    out = tmp_path_factory.mktemp("kept")
    execute(spec_of(out, keep_checkpoints=True), quiet=True)
    return out


@pytest.fixture
def out(kept, tmp_path):
    return shutil.copytree(kept, tmp_path / "out")


def read(path):
    return json.loads(path.read_text())


def test_a_longer_run_goes_on_and_ends_as_one_that_was_asked_for_at_once(out, tmp_path):
    longer, whole = spec_of(out, LONGER), spec_of(tmp_path / "whole", LONGER)
    assert Run(spec_of(out)).is_done() and not Run(longer).is_done()
    for spec in (longer, whole):
        execute(spec, quiet=True)
    for name in ("train.csv", "eval.csv", "policies/seed-3/parameters.safetensors"):
        assert (longer.path / name).read_bytes() == (whole.path / name).read_bytes()
    assert "continuing from step 4" in (longer.path / "log.txt").read_text()
    assert [each["from"] for each in read(longer.path / "config.json")["extended"]] == [4]
    assert read(longer.path / "config.json")["protocol"] == read(whole.path / "config.json")["protocol"]
    first, second = read(longer.path / "provenance.json")["starts"]
    assert second["extended_from"] == 4 and "extended_from" not in first
    assert read_card(policy_folder(longer.path, 3)).step == 8 and Run(longer).is_done()
    with pytest.raises(UserError, match=r"another configuration .*steps: 8, not 4"):
        Run(spec_of(out)).is_done()


def test_a_launcher_goes_on_with_a_finished_run_as_one_command_does(out):
    runs = [spec_of(out), spec_of(out, LONGER)]
    assert [outcome.reason for outcome in run_locally(runs[:1], Console(quiet=True))] == [""]
    assert len(read(runs[0].path / "provenance.json")["starts"]) == 1
    assert [outcome.reason for outcome in run_locally(runs[1:], Console(quiet=True))] == [""]
    assert read(runs[1].path / "status.json")["step"] == 8 and Run(runs[1]).is_done()


def test_a_finished_run_is_submitted_for_more_updates(out, monkeypatch):
    submitted = []
    monkeypatch.setattr(slurm, "limits", lambda options: slurm.Limits())
    monkeypatch.setattr(slurm, "submit", lambda launch, runs, *rest, **more: submitted.extend(runs))
    Launch.begin(out, [spec_of(out)], "slurm", {})
    for spec, count in ((spec_of(out), 0), (spec_of(out, LONGER), 1)):
        front_door.submit(out, [spec], [spec], front_door.How("slurm"))
        assert len(submitted) == count


def test_a_run_does_not_go_on_with_other_data(out, monkeypatch):
    make = ToyWorld.__init__
    monkeypatch.setattr(ToyWorld, "__init__", lambda self, task: make(self, task, seed=1))
    before = RunDirectory(spec_of(out).path).status["step"]
    with pytest.raises(UserError, match=r"holds a run on other data \(sha256 \w{12}, not sha256 .*--anew"):
        execute(spec_of(out, LONGER), quiet=True)
    monkeypatch.undo()
    execute(spec_of(out, LONGER), quiet=True)
    assert before == 4 and Run(spec_of(out, LONGER)).is_done()
    starts = read(spec_of(out).path / "provenance.json")["starts"]
    assert len({start["dataset"]["fingerprint"] for start in starts}) == 1, "what was refused made nothing"


def test_a_run_that_has_kept_nothing_begins_on_the_data_that_are_there(tmp_path, monkeypatch):
    spec, make = spec_of(tmp_path), ToyWorld.__init__
    with monkeypatch.context() as patch, pytest.raises(ZeroDivisionError):
        patch.setattr(ToyWorld, "__init__", lambda self, task: make(self, task, seed=1))
        patch.setattr("benchmark.loop.offline.Training.learn", lambda self: 1 / 0)
        execute(spec, quiet=True)
    execute(spec, quiet=True)
    first, second = (start["dataset"]["fingerprint"] for start in read(spec.path / "provenance.json")["starts"])
    assert first != second and read(spec.path / "status.json")["data"] == second
    assert RunDirectory(spec.path).other_data(second) == "" and RunDirectory(spec.path).other_data(first) == second


def made_file(folder, content):
    """A dataset as `envs.generate` leaves it, of any content."""
    path = folder / "generated/10-seed0/cube-single-play-v0.npz"
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    write_record(path, {}, sha256_of(path), {"source": "generated"})
    return path


def test_a_finished_run_is_not_taken_for_one_on_other_data(tmp_path):
    one, other = (made_file(tmp_path / name, name.encode()) for name in ("one", "other"))

    def asked(folder, seeds=(0,), out="out"):
        task, data, protocol = "cube-single-play-singletask-task1-v0", Generated(10), PROTOCOLS["empty"]
        where = dict(out=str(tmp_path / out), data=data, data_dir=str(tmp_path / folder))
        return RunSpec("bc", task, seeds, {}, protocol, name="bc", **where)

    execute(asked("one"))
    with RunDirectory(asked("one").path) as directory:
        directory.add_start({"dataset": {"fingerprint": fingerprint([one])}})
    assert Run(asked("one")).is_done() and only_missing([asked("one", (0, 1))])[0].seeds == (0,)
    for do in (lambda spec: Run(spec).is_done(), execute):
        with pytest.raises(UserError, match=r"holds a run on other data .*--anew"):
            do(asked("other"))
    assert [spec.seeds for spec in only_missing([asked("other", (0, 1))])] == [(0, 1)]
    other.unlink()
    assert Run(asked("other")).is_done(), "where data are not there, no one can say that they are others"


def test_a_run_that_ends_between_its_extension_and_its_next_checkpoint_is_not_finished(out):
    with RunDirectory(spec_of(out).path) as directory:
        directory.check_config(Run(spec_of(out, LONGER)).config)
    assert not Run(spec_of(out, LONGER)).is_done()
    with RunDirectory(spec_of(out).path) as directory:
        directory.check_config(Run(spec_of(out, LONGER)).config)
    assert len(read(spec_of(out).path / "config.json")["extended"]) == 1


def test_without_its_state_a_longer_run_says_what_it_needs(out):
    shutil.rmtree(spec_of(out).path / "checkpoints")
    before = (spec_of(out).path / "config.json").read_text()
    for ask in (lambda spec: Run(spec).is_done(), lambda spec: execute(spec, quiet=True)):
        with pytest.raises(UserError, match=r"no checkpoint to go on from, from 4 to 8 updates: .* --keep-checkpoints"):
            ask(spec_of(out, LONGER))
    assert (spec_of(out).path / "config.json").read_text() == before and Run(spec_of(out)).is_done()


def changed(config, **fields):
    return config | {name: config[name] | value for name, value in fields.items()}


def test_all_else_must_be_the_same(tmp_path):
    known = Run(spec_of(tmp_path)).config
    longer = Run(spec_of(tmp_path, LONGER)).config
    assert updates_before(known, longer) == 4 and updates_before(longer, known) is None
    assert updates_before(known, known) is None and updates_before({}, known) is None
    for other in (
        {"hyperparameters": {"discount": 0.9}},
        {"protocol": {"eval_episodes": 5}},
        {"protocol": {"eval_every": 3}},
    ):
        assert updates_before(known, changed(longer, **other)) is None
    online = Run(spec_of(tmp_path, LONGER, online=Online(20, 10))).config
    assert updates_before(online | {"protocol": online["protocol"] | {"steps": 4}}, online) is None


def test_intervals_that_a_short_run_had_cut_are_those_of_the_longer(tmp_path):
    protocol = Protocol(1000, eval_every=100, eval_episodes=4, eval_first=False, log_every=3, checkpoint_every=100)
    known, longer = (Run(spec_of(tmp_path, protocol.scaled_to(steps))).config for steps in (4, 8))
    assert known["protocol"]["eval_every"] == 4 and updates_before(known, longer) == 4


def test_a_schedule_over_the_length_is_kept_only_where_that_is_said(tmp_path):
    def ask(steps, **settings):
        protocol = dataclasses.replace(PROTOCOL, steps=steps)
        given = {"decay_steps": steps, "hidden": (8,), "batch_size": 8} | settings
        return Run(RunSpec("bdpo", "toy-modes", (0,), given, protocol, str(tmp_path), name="bdpo"))

    with ask(4).directory as directory:
        directory.check_config(ask(4).config)
        (directory.checkpoints / "4").mkdir(parents=True)
        directory.set_status(state="done", step=4, steps=4)
    with pytest.raises(UserError, match=r"of that length \(decay_steps\).*--set decay_steps=4, or begin again"):
        ask(8).is_done()
    assert not ask(8, decay_steps=4).is_done()


# ------------------------------------------------------------------------------------------------------- seeds


def test_seeds_added_later_are_all_that_is_trained(out, capsys):
    asked = spec_of(out, seeds=(0, 1, 2, 3))
    assert [spec.seeds for spec in only_missing([asked])] == [(0, 3), (1, 2)]
    one_each = [spec_of(out, seeds=(seed,)) for seed in (0, 1, 3)]
    assert [spec.seeds for spec in only_missing(one_each)] == [(0, 3), (1,)]
    assert only_missing([spec_of(out)]) == [spec_of(out)]
    for other in (spec_of(out, LONGER, (0, 1)), spec_of(out.parent / "other", seeds=(0, 1))):
        assert only_missing([other]) == [other]


def test_a_run_of_its_own_seeds_goes_on_beside_others_of_the_same(out):
    shutil.copytree(spec_of(out).path, spec_of(out, seeds=(0,)).path)
    assert only_missing([spec_of(out, seeds=(0,))]) == [spec_of(out, seeds=(0,))]


def test_commands_train_only_the_seeds_that_are_missing(tmp_path, capsys):
    words = ["--agent=bc", "--task=toy-modes", "--protocol=toy", "--steps=2", "--eval-episodes=2", "--set=hidden=8"]
    for seeds in ("1", "0-2"):
        train.main([*words, f"--seeds={seeds}", f"--out={tmp_path}"])
    assert "seeds-1 is finished already" in capsys.readouterr().out
    assert sorted(path.name for path in tmp_path.glob("bc/*/*")) == ["seeds-0,2", "seeds-1"]
    rows = [row for path in tmp_path.glob("bc/*/*/eval.csv") for row in csv.DictReader(path.open())]
    assert sorted(row["seed"] for row in rows) == ["0", "1", "2"]
