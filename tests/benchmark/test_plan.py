"""The plan: what is done, what data is missing, what it costs; and the published protocols."""

import dataclasses
import json
import subprocess

import pytest

import run_all
from analysis import load_runs
from benchmark.common import machine
from benchmark.common.errors import UserError
from benchmark.launching import cost, dry_run, front_door
from benchmark.launching.cost import Hours
from benchmark.launching.local import Outcome
from benchmark.launching.status import run_states
from benchmark.loop import worker
from benchmark.planning import suites
from benchmark.planning.configure import configure, describe
from benchmark.planning.plan import plan
from benchmark.planning.protocols import PROTOCOLS
from benchmark.planning.registry import agent_class
from benchmark.planning.run import Run
from benchmark.runs import provenance
from benchmark.runs.protocol import Online
from benchmark.runs.run import RunSpec
from benchmark.speed import episodes
from benchmark.speed import updates as measuring
from envs.ogbench.generating import SHARDS_NOTE
from envs.tasks import get_task
from tests.helpers.simulated_runs import write_run

TASK = "cube-double-play-singletask-task2-v0"
HOUR = 3600


def spec_of(task=TASK, agent="fql", seeds=(0, 1), **values):
    protocol = values.pop("protocol", dataclasses.replace(PROTOCOLS["rql"], steps=HOUR))
    return RunSpec(agent, task, seeds, values.pop("settings", {}), protocol, values.pop("out", "runs"), **values)


def row(agent="fql", seeds=2, rate=10.0, domain="cube-double-play", **settings):
    """A row as benchmark.throughput records it."""
    found = dict(agent=agent, domain=domain, size="paper", precision="default", seeds=seeds, error=None)
    spread = dict(minimum=rate / 2, median=rate, maximum=rate * 2, repeats=3)
    cls = agent_class(agent)
    return {**found, "spread": spread, "settings": describe(configure(cls, settings))}


def test_hours_are_updates_over_the_recorded_rate():
    assert cost.costs([(spec_of(), 0)], [row()]) == [Hours(0.1, 0.05, 0.2)]
    assert cost.costs([(spec_of(), HOUR // 2)], [row()]) == [Hours(0.05, 0.025, 0.1)]


def test_pretraining_costs_too():
    spec = spec_of(agent="bdpo", settings={"pretraining_steps": HOUR})
    assert cost.costs([(spec, 0), (spec, HOUR // 2)], [row("bdpo")]) == [Hours(0.2, 0.1, 0.4), Hours(0.05, 0.025, 0.1)]


def test_what_is_behind_a_run_in_its_online_phase_costs_nothing_more():
    spec = spec_of(online=Online(HOUR, 10))
    assert cost.costs([(spec, HOUR + 7)], [row()]) == [Hours()]
    assert cost.costs([(spec, 0)], [row()]) == cost.costs([(spec_of(), 0)], [row()])


def test_a_plan_without_updates_costs_nothing(tmp_path, capsys):
    empty = spec_of(protocol=PROTOCOLS["empty"], out=str(tmp_path))
    assert cost.costs([(empty, 0), (spec_of(), 0)], [row()]) == [Hours(), Hours(0.1, 0.05, 0.2)]
    assert cost.estimate([empty], [], print) == []


def test_the_plan_says_that_an_online_phase_is_not_counted(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(dry_run, "read_rates", lambda path: [row() | {"device": "a device"}])
    for online in (None, Online(HOUR, 10)):
        dry_run.print_plan([spec_of(online=online, out=str(tmp_path), data_dir=str(tmp_path))], estimate=False)
        said = capsys.readouterr().out
        assert ("online phases are not counted" in said) == bool(online)
        assert f"{2 * HOUR if online else HOUR:,}" in said


def test_evaluation_is_counted_where_its_speed_was_measured():
    # 50 episodes of 500 steps for each of two seeds, after the first and the last update
    speed = dict(agent="rql", domain="cube-double-play", seeds=1, steps_per_second=50_000 / HOUR)
    spec = spec_of(protocol=dataclasses.replace(PROTOCOLS["rql"], steps=HOUR, eval_every=HOUR))
    assert cost.evaluation_hours(spec, [speed]) == Hours(HOUR / 3600, 0, 2 * HOUR / 3600)
    assert cost.costs([(spec, 0)], [row()], [speed]) == [Hours(0.1 + HOUR / 3600, 0.05, 0.2 + 2 * HOUR / 3600)]
    assert cost.costs([(spec, 0)], [row()], [{**speed, "domain": "scene-play"}]) == [Hours(0.1, 0.05, 0.2)]


def measured(rates, **values):
    """Rows of a case with so many seed-updates per second for each number of seeds; None: it failed."""
    return [
        {**row(seeds=seeds, **values), "seed_updates_per_second": rate, "error": None if rate else "out of memory"}
        for seeds, rate in rates.items()
    ]


@pytest.mark.parametrize(
    "rates,seeds,expected",
    [
        ({1: 10.0, 4: 30.0, 12: 60.0}, 12, 12),
        ({1: 10.0, 4: 59.0, 12: 60.0}, 12, 4),  # nearly as fast with less memory
        ({1: 10.0, 4: 30.0, 12: None}, 12, 4),  # does not fit
        ({1: 10.0, 8: 30.0}, 12, 6),  # two equal groups
        ({1: 10.0, 12: 60.0}, 4, 1),
        ({}, 12, 12),
    ],
)
def test_seeds_train_together_as_the_measured_rates_say(rates, seeds, expected):
    assert cost.seeds_together(agent_class("fql"), {}, get_task(TASK), seeds, measured(rates)) == expected


def test_rates_of_the_same_domain_count_first_and_of_other_sizes_never():
    rows = [*measured({1: 10.0, 4: 30.0}), *measured({1: 10.0, 4: 10.0}, domain="scene-play")]
    assert cost.seeds_together(agent_class("fql"), {}, get_task(TASK), 4, rows) == 4
    assert cost.seeds_together(agent_class("fql"), {"batch_size": 64}, get_task(TASK), 12, rows) == 12


def test_a_rate_of_other_agents_or_other_sizes_says_nothing():
    assert cost.costs([(spec_of(), 0)], []) == [None]
    assert cost.costs([(spec_of(), 0)], [row("rql")]) == [None]
    assert cost.costs([(spec_of(settings={"hidden": (64, 64)}), 0)], [row()]) == [None]
    assert cost.costs([(spec_of(settings={"alpha": 1, "chunk_length": 1}), 0)], [row()]) != [None]


def test_estimating_times_only_the_agents_without_a_rate(monkeypatch):
    timed = []

    def measure(plan, say):
        timed.append((*plan.agents, plan.domain.name, plan.seeds))
        return [row(*plan.agents, seeds=plan.seeds[0])]

    monkeypatch.setattr(measuring, "measure", measure)
    runs = [spec_of(), spec_of(agent="rql"), spec_of(agent="rql"), spec_of("toy-modes", agent="rql")]
    assert [found["agent"] for found in cost.estimate(runs, [row()], lambda text: None)] == ["rql"]
    assert timed == [("rql", "cube-double-play", (2,))]


def plan_text(capsys, *arguments):
    assert run_all.main([*arguments, "--dry-run"]) == 0
    return " ".join(capsys.readouterr().out.split())


def test_the_plan_adds_up_hours_and_says_what_is_unknown(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(dry_run, "read_rates", lambda path: [row(seeds=12, rate=100.0)])
    monkeypatch.setattr(episodes, "read_rows", lambda path: [])
    asked = ["--suite=ogbench", "--domains=cube-double-play", f"--out={tmp_path}", f"--data-dir={tmp_path}"]
    text = plan_text(capsys, *asked, "--agents=fql", "--steps=3600000")
    # Five tasks of 3.6 million updates at 100 a second.
    assert "50.0 (25.0 to 100.0) hours for 5 of 5 runs" in text.replace("50 (25 to 100)", "50.0 (25.0 to 100.0)")
    text = plan_text(capsys, *asked, "--agents=fql,rql")
    assert "for 5 of 10 runs" in text and "the cost of 5 runs is unknown" in text
    assert "python -m benchmark.throughput --agents=rql --seeds=12 --domain=cube-double-play" in text


def test_what_to_measure_is_named_once_for_each_size_of_networks():
    suite = suites.get_suite("ogbench")
    domains = ("antmaze-large-navigate", "antmaze-giant-navigate", "cube-double-play", "scene-play")
    tasks = [task for task in suite.tasks if task.domain.name in domains]
    runs = plan(suite, agents=["rql", "diffusion_ql"], tasks=tasks, seeds=(0,), protocol=PROTOCOLS["rql"], out="")
    # Diffusion-QL's target is the best of ten actions in mazes and of one elsewhere: two programs.
    assert cost.to_measure(runs) == {
        "antmaze-large-navigate": ["rql", "diffusion_ql"],
        "cube-double-play": ["diffusion_ql"],
    }
    assert cost.to_measure([spec_of("toy-modes")]) == {}


def test_the_plan_counts_what_is_done_and_begun(capsys, tmp_path):
    asked = ["--suite=ogbench", "--agents=fql", f"--out={tmp_path}", f"--data-dir={tmp_path}"]
    runs = front_door.runs_asked_for(run_all.parser().parse_args(asked), suites.get_suite("ogbench"), tmp_path)
    for spec, status in zip(runs, [{"state": "done"}, {"state": "failed", "step": 500_000}], strict=False):
        spec.path.mkdir(parents=True)
        (spec.path / "config.json").write_text(json.dumps(Run(spec).config))
        (spec.path / "status.json").write_text(json.dumps(status))
    assert "50 runs of 600 seeds in all; 1 done, 49 to do (1 of them begun)" in plan_text(capsys, *asked)
    text = plan_text(capsys, *asked, "--agents=fql,rql")
    assert "100 runs of 1200 seeds in all; 1 done, 99 to do (1 of them begun)" in text
    assert "│fql │1/5 │0/5" in text


def test_the_plan_names_missing_data_with_its_size(capsys, tmp_path):
    text = plan_text(capsys, "--suite=ogbench", "--agents=fql", f"--out={tmp_path}", f"--data-dir={tmp_path}")
    assert "cube-quadruple-play-100m-v0: missing, 100 files would be downloaded, about 39.5 GB" in text
    assert "antmaze-large-navigate-v0.npz: missing, would be downloaded, about 0.2 GB" in text


def test_generated_shards_lack_only_what_was_to_be_generated(tmp_path):
    spec = spec_of("cube-quadruple-play-singletask-task1-v0", data_dir=str(tmp_path))
    assert len(Run(spec).missing_data()) == 100
    folder = tmp_path / "cube-quadruple-play-100m-v0"
    folder.mkdir()
    (folder / SHARDS_NOTE).write_text('{"source": "generated", "shards": 2}')
    (folder / "cube-quadruple-play-v0-000.npz").touch()
    assert Run(spec).missing_data() == [("cube-quadruple-play-v0-001.npz", None)]


def test_data_that_cannot_be_had_stops_only_its_own_runs(tmp_path, monkeypatch, capsys):
    runs = [
        spec_of(agent=agent, task=task, out=str(tmp_path)) for task in (TASK, "toy-modes") for agent in ("fql", "bc")
    ]

    def ensure(run):
        if run.spec.task == TASK:
            raise UserError("no source has it")

    launched = []

    def run(specs, *_, **__):
        launched.extend(specs)
        return [Outcome(spec.path, "") for spec in specs]

    monkeypatch.setattr(Run, "ensure_data", ensure)
    monkeypatch.setattr(front_door, "run_locally", run)
    assert front_door.launch(tmp_path, runs, front_door.How()) == 1
    assert launched == runs[2:]
    text = " ".join(capsys.readouterr().out.split())
    assert f"failed: 2 runs, the first {runs[0].path}: no data: no source has it" in text
    failed = [run.state for run in run_states(tmp_path)]
    assert failed == ["failed"] * 2 + ["planned"] * 2


# ---------------------------------------------------------------------------------------- protocols, provenance


def test_protocols_are_the_published_ones():
    rql, qam = PROTOCOLS["rql"], PROTOCOLS["qam"]
    assert (rql.steps, rql.eval_every, rql.eval_episodes, rql.eval_first) == (1_000_000, 100_000, 50, True)
    assert (qam.steps, qam.eval_every, qam.eval_episodes, qam.eval_first) == (1_000_000, 50_000, 50, False)


@pytest.mark.parametrize("protocol", ["rql", "qam"])
def test_rows_and_checkpoints_fall_on_evaluations(protocol):
    chosen = PROTOCOLS[protocol]
    for interval in (chosen.log_every, chosen.checkpoint_every):
        assert chosen.eval_every % interval == 0


def test_the_chosen_protocol_reaches_the_runs(tmp_path):
    for name in ("rql", "qam"):
        asked = run_all.parser().parse_args(["--suite=ogbench", f"--protocol={name}"])
        runs = front_door.runs_asked_for(asked, suites.get_suite("ogbench"), tmp_path)
        assert {run.protocol for run in runs} == {PROTOCOLS[name]}


def test_a_start_is_recorded_with_everything_that_can_change_a_number():
    start = provenance.collect({"source": "generated", "fingerprint": "sha256:1"}, "cpu: a test's")
    for name in ("time", "command", "commit", "clean", "python", "versions", "device", "host", "dataset"):
        assert start[name] not in ("", None), name
    assert {"jax", "jaxlib", "flax", "numpy", "ogbench", "mujoco", "gymnasium"} <= set(start["versions"])
    assert "python" in start["command"] and len(start["commit"]) == 40


def test_changed_code_is_recorded_as_uncommitted_and_measured_rates_are_not(tmp_path, monkeypatch):
    def git(*arguments):
        subprocess.run(["git", "-c", "user.name=n", "-c", "user.email=e", *arguments], cwd=tmp_path, check=True)

    rates, code = tmp_path / "results" / "throughput" / "here.json", tmp_path / "agents" / "fql.py"
    for file in (rates, code):
        file.parent.mkdir(parents=True)
        file.write_text("before")
    git("init", "--quiet")
    git("add", ".")
    git("commit", "--quiet", "--message=first")
    monkeypatch.setattr(machine, "ROOT", tmp_path)
    state = machine.git_state.__wrapped__

    rates.write_text("measured again")
    commit, clean = state()
    assert clean and len(commit) == 40
    code.write_text("changed")
    assert state() == (commit, False)


@pytest.mark.parametrize(
    "column, start",
    [
        ("fingerprint", {"dataset": {"fingerprint": "sha256:2"}}),
        ("source", {"dataset": {"source": "published"}}),
        ("commit", {"commit": "b" * 40}),
        ("clean", {"clean": False}),
        ("versions", {"versions": {"jax": "0.10.2", "mujoco": "3.4.0", "flax": "0.13.0"}}),
        ("jax", {"versions": {"jax": "0.11.0", "mujoco": "3.4.0"}}),
        ("mujoco", {"versions": {"jax": "0.10.2", "mujoco": "3.5.0"}}),
        ("python", {"python": "3.12.1"}),
        ("device", {"device": "gpu: another"}),
        ("host", {"host": "there"}),
        ("command", {"command": "train --set alpha=3"}),
    ],
)
def test_runs_that_differ_in_what_made_them_can_be_told_apart(tmp_path, column, start):
    write_run(tmp_path / "a")
    write_run(tmp_path / "b", start=start)
    first, second = load_runs(tmp_path).runs[column]
    assert first != second


def test_a_run_that_went_on_elsewhere_shows_both(tmp_path):
    path = write_run(tmp_path)
    starts = json.loads((path / "provenance.json").read_text())["starts"]
    other = {**starts[0], "device": "gpu: another", "commit": "b" * 40}
    (path / "provenance.json").write_text(json.dumps({"starts": [*starts, other]}))
    run = load_runs(tmp_path).runs.iloc[0]
    assert run.device == "cpu: simulated+gpu: another" and run.commit == "a" * 40 + "+" + "b" * 40


def test_a_suite_of_published_data_can_be_trained_on_generated_data(tmp_path):
    asked = ["--suite=ogbench", "--domains=scene-play", "--agents=bc", "--generate=5_000"]
    runs = front_door.runs_asked_for(run_all.parser().parse_args(asked), suites.get_suite("ogbench"), tmp_path)
    assert {run.data.transitions for run in runs} == {5_000}
    with pytest.raises(UserError, match="--generate must be a whole number"):
        wrong = run_all.parser().parse_args([*asked, "--generate=x"])
        front_door.runs_asked_for(wrong, suites.get_suite("ogbench"), tmp_path)


def test_generated_shards_are_recorded_as_generated(monkeypatch, tmp_path):
    """What the files' own records say wins over where the run looked for them."""
    monkeypatch.setattr(Run, "ensure_data", lambda run: tmp_path)

    class Stop(Exception):
        pass

    class World:
        def __init__(self):
            self.source = {"source": "generated", "fingerprint": "sha256:1"}

        def data_for(self, update):
            raise Stop

        def close(self):
            pass

    monkeypatch.setattr("envs.world.SimulatorWorld", lambda *_: World())
    with pytest.raises(Stop):
        worker.execute(dataclasses.replace(spec_of(), out=str(tmp_path)))
    recorded = json.loads((dataclasses.replace(spec_of(), out=str(tmp_path)).path / "provenance.json").read_text())
    assert recorded["starts"][0]["dataset"]["source"] == "generated"
