"""The authors' code on a run of ours: how it is driven, and what becomes of what it says."""

import dataclasses
import datetime
import json
import os
import shutil
import sys
from pathlib import Path

import pytest

from analysis.reading.loading import load_runs
from benchmark import same_experiment
from benchmark.checking.end_to_end import compare, made_by_authors
from benchmark.checking.same_experiment import IN_THEIR_CODE, command, experiment_of, rows_of, train_authors
from benchmark.common.errors import UserError
from benchmark.planning.protocols import get_protocol
from benchmark.planning.registry import agent_class
from benchmark.planning.suites import SUITES
from benchmark.runs.protocol import Generated, Protocol
from benchmark.runs.run import RunSpec
from benchmark.speed.authors import FIELDS, MODULES, SWITCHES, theirs
from envs.data.origin import fingerprint

TASK = "puzzle-3x3-play-singletask-task1-v0"
HYPERPARAMETERS = {"learning_rate": 1e-3, "chunk_length": 5, "hidden": [64, 64], "ensemble": 2, "alpha": 1.0}
THEIR_NAMES = (
    *("alpha", "expectile", "ema", "flow_steps", "lr", "discount", "tau", "rho", "h", "batch_size", "ensemble_ct"),
    *("actor_hidden_dims", "value_hidden_dims"),
)
PROTOCOL = {"steps": 20, "eval_every": 10, "eval_episodes": 2, "log_every": 10, "checkpoint_every": 20}

# Reads its options as text and writes what an evaluation gives, as main.py of github.com/aoberai/rql does.
MAIN = """
import os, pathlib, sys
import wandb
options = dict(word[2:].split("=") for word in sys.argv[1:] if "=" in word)
puzzle = options["env_name"].startswith("puzzle")
assert ("--sparse" in sys.argv) == puzzle
data = pathlib.Path.home() / ".ogbench/data/puzzle-3x3-play-v0.npz"
there = data.read_text() == "data" if puzzle else data.with_name("cube-single-play-v0.npz").is_file()
assert there, "where ogbench looks for it"
if int(options["seed"]) == int(os.environ.get("FAIL_AT", -1)):
    raise ValueError("no memory")
folder = pathlib.Path(options["save_dir"], wandb.run.project, "Debug")
folder.mkdir(parents=True)
steps, every = int(options["offline_steps"]), int(options["eval_interval"])
with open(folder / "eval.csv", "w") as file:
    file.write("evaluation/success,evaluation/episode.return,evaluation/episode.length,step\\n")
    for step in [1, *range(every, steps + 1, every)]:
        file.write(f"{step / 100 + int(options['seed']) / 1000},-5.0,500.0,{step}\\n")
"""


# Put before what MAIN writes: it waits until a second process is at work, and writes nothing where none comes.
WITH_ANOTHER = """
import time
place = pathlib.Path(options["save_dir"]).parents[1]
(place / f"begun-{options['seed']}").touch()
started = time.monotonic()
while len(list(place.glob("begun-*"))) < 2:
    assert time.monotonic() < started + 20, "no other process is at work"
    time.sleep(0.01)
"""


@pytest.fixture
def checkout(tmp_path):
    (tmp_path / "rql" / "agents").mkdir(parents=True)
    (tmp_path / "rql" / "main.py").write_text(MAIN)
    text = f"def get_config():\n    return dict.fromkeys({THEIR_NAMES})\n"
    (tmp_path / "rql" / "agents" / "rql.py").write_text(text)
    return tmp_path / "rql"


@pytest.fixture
def run(tmp_path):
    path = tmp_path / "runs" / "rql" / TASK / "seeds-0-1"
    path.mkdir(parents=True)
    data = tmp_path / "data" / "puzzle-3x3-play-v0.npz"
    data.parent.mkdir()
    data.write_text("data")
    data.with_name("puzzle-3x3-play-v0-val.npz").write_text("more")
    config = {"schema": 1, "agent": "rql", "task": TASK, "domain": "puzzle-3x3-play", "suite": "small"}
    config |= {"seeds": [0, 1], "hyperparameters": HYPERPARAMETERS, "protocol": PROTOCOL}
    dataset = {"name": "puzzle-3x3-play-v0", "fingerprint": "sha256:1", "transitions": 1000, "path": str(data)}
    (path / "config.json").write_text(json.dumps(config))
    (path / "provenance.json").write_text(json.dumps({"starts": [{"device": "cpu", "dataset": dataset}]}))
    (path / "status.json").write_text(json.dumps({"state": "done", "step": 20, "steps": 20, "diverged": {}}))
    return path


def change_config(run, **changes):
    """Have a run's config.json say something else."""
    path = run / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_their_main_gets_our_hyperparameters_under_their_names(run, checkout):
    words = command(experiment_of(run, [checkout]), Path("python"), ["lr", "h", "actor_hidden_dims"], Path("x"), 1)
    assert {"--agent=agents/rql.py", f"--env_name={TASK}", "--seed=1", "--sparse", "--offline_steps=20"} < set(words)
    assert {"--agent.lr=0.001", "--agent.h=5", "--agent.actor_hidden_dims=(64, 64)"} < set(words)
    assert not any("ensemble" in word or "horizon" in word for word in words)


@pytest.mark.parametrize("agent", MODULES)
def test_every_hyperparameter_of_an_agent_has_a_place_in_their_code(agent):
    settings = dataclasses.asdict(agent_class(agent).Config())
    handed = {name for name in settings if FIELDS.get(name)} | set(SWITCHES)
    assert settings.keys() - handed == settings.keys() & IN_THEIR_CODE.keys()
    assert all(settings[name] == value for name, value in IN_THEIR_CODE.items() if name in settings)


def test_values_are_converted_where_theirs_are_other_numbers_and_parts_that_are_switched_off_are_zero_there():
    settings = {"ema_rate": 0.001, "target_entropy": -0.5, "edit": False, "edit_scale": 0.1, "distill": True}
    words = theirs(settings, MODULES["qam_e"][2])
    assert (words["ema"], words["edit_target_entropy_multiplier"]) == (0.999, 0.5)
    assert (words["edit_scale"], words["fql_alpha"]) == (0.0, 0.0)
    assert theirs(settings | {"edit": True}, {})["edit_scale"] == 0.1


@pytest.mark.parametrize(
    ("setting", "said"),
    [({"candidates": 4}, "has no candidates, .* at 4"), ({"matmul_precision": "bfloat16"}, "matmul_precision default")],
)
def test_a_hyperparameter_that_they_have_not_is_refused_before_any_work(run, checkout, tmp_path, setting, said):
    experiment = dataclasses.replace(experiment_of(run, [checkout]), settings=HYPERPARAMETERS | setting)
    with pytest.raises(UserError, match=said):
        train_authors(experiment, Path(sys.executable), tmp_path / "theirs")
    assert not (tmp_path / "theirs").exists()


def test_what_they_say_becomes_a_run_beside_ours(run, checkout, tmp_path):
    experiment = experiment_of(run, [checkout])
    made = train_authors(experiment, Path(sys.executable), tmp_path / "theirs", jobs=2)
    assert made == tmp_path / "theirs" / "rql-authors" / TASK / "seeds-0-1"
    runs = load_runs(tmp_path / "theirs", cache=False)
    (row,) = runs.runs.itertuples()
    assert (row.state, row.label, row.fingerprint) == ("done", "rql-authors", "sha256:1")
    assert runs.evaluations[["step", "seed", "success", "episodes"]].to_numpy().tolist() == [
        *([10, 0, 0.1, 2], [10, 1, 0.101, 2], [20, 0, 0.2, 2], [20, 1, 0.201, 2])
    ]


def test_a_seed_that_was_finished_is_not_made_again(run, checkout, tmp_path, monkeypatch):
    experiment = experiment_of(run, [checkout])
    monkeypatch.setenv("FAIL_AT", "1")
    with pytest.raises(UserError, match="at seed 1: ValueError: no memory"):
        train_authors(experiment, Path(sys.executable), tmp_path / "theirs")
    first = next((tmp_path / "theirs").glob(".authors/**/seed-0/results/**/eval.csv"))
    begun = json.loads((first.parents[3] / "command.json").read_text())["time"]
    ended = datetime.datetime.fromisoformat(begun).timestamp() + 1000
    os.utime(first, (ended, ended))
    before = first.stat().st_mtime_ns
    monkeypatch.delenv("FAIL_AT")
    train_authors(experiment, Path(sys.executable), tmp_path / "theirs")
    assert first.stat().st_mtime_ns == before
    assert load_runs(tmp_path / "theirs", cache=False).runs["state"].tolist() == ["done"]
    (status,) = (tmp_path / "theirs").glob("rql-authors/*/*/status.json")
    assert 1000 < json.loads(status.read_text())["train_seconds"] < 1100  # what it took then counts too


@pytest.mark.parametrize("other", [{"settings": HYPERPARAMETERS | {"alpha": 3.0}}, {"dataset": {"fingerprint": "2"}}])
def test_a_seed_of_another_experiment_is_made_again(run, checkout, tmp_path, other):
    first = experiment_of(run, [checkout])
    train_authors(first, Path(sys.executable), tmp_path / "theirs")
    (rows,) = (tmp_path / "theirs").glob(".authors/**/seed-0/results/**/eval.csv")
    rows.write_text(rows.read_text().replace("-5.0", "-6.0"))
    again, anew = (
        dataclasses.replace(first, seeds=(0,), config={**first.config, "seeds": [0]}, **change)
        for change in ({}, other)
    )
    for experiment, gained in ((again, -6.0), (anew, -5.0)):
        made = train_authors(experiment, Path(sys.executable), tmp_path / "theirs")
        assert set(load_runs(made, cache=False).evaluations["return"]) == {gained}
        shutil.rmtree(made)


def test_rows_that_are_removed_while_they_are_looked_for_are_none(run, checkout, tmp_path):
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "eval.csv").symlink_to("removed")  # found by its name, and not there when it is read
    assert rows_of(experiment_of(run, [checkout]), tmp_path) == {}


def test_runs_of_ours_with_a_label_of_their_own_keep_it_in_theirs(run, checkout, tmp_path):
    config = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps(config | {"label": "rql_expectile_09"}))
    made = train_authors(experiment_of(run, [checkout]), Path(sys.executable), tmp_path / "theirs")
    assert made == tmp_path / "theirs" / "rql_expectile_09-authors" / TASK / "seeds-0-1"
    assert load_runs(made, cache=False).runs["label"].tolist() == ["rql_expectile_09-authors"]


def test_their_python_may_be_named_from_where_one_stands(run, checkout, tmp_path, monkeypatch):
    facts = json.loads((run / "provenance.json").read_text())
    facts["starts"][0]["dataset"]["path"] = "data/puzzle-3x3-play-v0.npz"
    (run / "provenance.json").write_text(json.dumps(facts))
    (tmp_path / "python").symlink_to(sys.executable)
    monkeypatch.chdir(tmp_path)
    words = ["--run", str(run.relative_to(tmp_path)), "--authors", "rql", "--out", "theirs"]
    assert same_experiment.main([*words, "--authors-python", "./python"]) == 0
    assert load_runs(tmp_path / "theirs", cache=False).runs["state"].tolist() == ["done"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda run: (run / "status.json").write_text('{"state": "running"}'), "finished run"),
        (lambda run: (run / "config.json").unlink(), "missing"),
        (lambda run: (run.parents[3] / "data" / "puzzle-3x3-play-v0.npz").unlink(), "dataset file"),
        (lambda run: (run.parents[3] / "rql" / "agents" / "rql.py").unlink(), "none of the folders has agents/rql.py"),
        (lambda run: change_config(run, start={"agent": "bc", "digest": "sha256:1"}), "begins with networks of 'bc'"),
        (lambda run: change_config(run, protocol=PROTOCOL | {"online_steps": 500}), "500 steps online"),
    ],
)
def test_what_their_code_cannot_make_is_said_before_any_work(run, checkout, change, said):
    change(run)
    with pytest.raises(UserError, match=said):
        experiment_of(run, [checkout])


def test_seeds_of_several_runs_of_ours_train_at_once_in_the_authors_code(run, checkout, tmp_path):
    (checkout / "main.py").write_text(MAIN.replace("folder =", f"{WITH_ANOTHER}folder =", 1))
    protocol = Protocol(**PROTOCOL, eval_first=False)
    specs = [RunSpec("rql", TASK, (seed,), {}, protocol, str(tmp_path / "runs")) for seed in (0, 1)]
    for spec in specs:
        shutil.copytree(run, spec.path)
        change_config(spec.path, seeds=list(spec.seeds))
    made = made_by_authors(specs, [checkout], Path(sys.executable), tmp_path / "theirs", 2)
    assert [path.name for path in made] == ["seeds-0", "seeds-1"]
    assert load_runs(tmp_path / "theirs", cache=False).runs["state"].tolist() == ["done", "done"]


@pytest.mark.slow
def test_whole_commands_are_timed_both_ways_on_the_same_data(checkout, tmp_path, monkeypatch):
    monkeypatch.setenv("RQL_DATA_DIR", str(tmp_path / "made"))
    suite = dataclasses.replace(SUITES["quickstart"], data=Generated(1_000), filmed=False)
    protocol = dataclasses.replace(get_protocol("quickstart").scaled_to(8), eval_episodes=1)
    out = tmp_path / "both"
    ways = compare(suite, "rql", [0, 1], protocol, [2], [checkout], Path(sys.executable), out)
    assert [(way.whose, way.at_once) for way in ways] == [("ours", 2), ("authors", 2)]
    assert all(way.seconds > 0 for way in ways)
    ours, theirs = (load_runs(out / name, cache=False) for name in ("ours-2", "authors-2"))
    assert {*ours.evaluations["step"]} - {1} == {*theirs.evaluations["step"]}
    assert [len(both.runs) for both in (ours, theirs)] == [2, 2]  # a run a process
    assert {*ours.evaluations["seed"]} == {*theirs.evaluations["seed"]} == {0, 1}
    assert {*ours.runs["fingerprint"]} == {*theirs.runs["fingerprint"]}
    written = json.loads((out / "end_to_end.json").read_text())
    assert written["ways"] == [dataclasses.asdict(way) for way in ways]


def test_data_that_lie_elsewhere_are_named_and_must_be_those(run, checkout, tmp_path):
    there = experiment_of(run, [checkout]).data
    moved = there.rename(tmp_path / "moved.npz")
    with pytest.raises(UserError, match="--data names it"):
        experiment_of(run, [checkout])
    with pytest.raises(UserError, match="one of other content"):
        experiment_of(run, [checkout], moved)
    record = json.loads((run / "provenance.json").read_text())
    record["starts"][0]["dataset"]["fingerprint"] = fingerprint([moved])
    (run / "provenance.json").write_text(json.dumps(record))
    assert experiment_of(run, [checkout], moved).data == moved
