"""What runs will write is told before they do, from the shapes of their arrays, and refused where it does not fit."""

import dataclasses
import shutil
from types import SimpleNamespace

import jax
import pytest

import run_all
from benchmark.common.errors import UserError
from benchmark.loop.worker import execute
from benchmark.planning.run import Run
from benchmark.runs.protocol import Online, Protocol
from benchmark.runs.run import RunSpec
from benchmark.speed import disk
from benchmark.speed.disk import Bytes, StateSizes, disk_of, plan_disk, size
from benchmark.speed.loops import synthetic_data

PROTOCOL = Protocol(40, 20, 2, eval_first=False, log_every=10, checkpoint_every=10)
SETTINGS = dict(hidden=(64, 64), flow_steps=2, batch_size=8)


def toy_run(out, **changes):
    return dataclasses.replace(RunSpec("bc", "toy-modes", (0, 3), SETTINGS, PROTOCOL, str(out), "toy"), **changes)


def written(folder):
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("kept", [False, True])
def test_what_a_run_leaves_is_what_was_planned(tmp_path, kept):
    run = Run(toy_run(tmp_path, keep_checkpoints=kept))
    sizes = StateSizes()(run)
    planned = disk_of(run, sizes)
    execute(run.spec, quiet=True)
    checkpoints, policies = written(run.directory.checkpoints), written(run.path / "policies")
    assert policies <= planned.kept and 2 * sizes.policy < policies < 2 * sizes.state
    rows = sum((run.path / name).stat().st_size for name in ("train.csv", "eval.csv"))
    assert rows < planned.records - disk.OTHER_RECORDS
    if kept:
        of_checkpoints = planned.kept - 2 * (sizes.policy + disk.CARD)
        assert 0.8 * of_checkpoints < checkpoints < 1.2 * of_checkpoints + 200_000
        assert planned.training == of_checkpoints / 2
    else:
        assert checkpoints == 0 and planned.training == 3 * 2 * sizes.state


def test_policies_of_every_evaluation_are_counted(tmp_path):
    once, each = (disk_of(Run(toy_run(tmp_path, keep_policies=keep)), Bytes(10**6, 10**5)) for keep in (False, True))
    assert each.kept == once.kept * (1 + PROTOCOL.evaluations)


def test_sizes_are_exact_and_each_is_worked_out_once(tmp_path):
    sizes = StateSizes()
    rql = Run(RunSpec("rql", "cube-single-play-singletask-task1-v0", (0,), {}, PROTOCOL, str(tmp_path)))
    assert sizes(rql).state == 144_581_184  # as `init_states` makes
    for rate in (0.1, 0.2):
        sizes(Run(dataclasses.replace(rql.spec, settings={"alpha": rate}, seeds=(1, 2))))
    assert len(sizes.known) == 1
    assert sizes(Run(toy_run(tmp_path, agent=str(tmp_path / "gone.py")))) is None


@pytest.mark.parametrize("name", ["value_flows", "bdpo", "rql"])
def test_sizes_are_those_of_the_states_that_agents_begin_with(tmp_path, name):
    run = Run(toy_run(tmp_path, agent=name, settings={}))
    agent, data = run.agent_class(run.hyperparameters, 2, 2), synthetic_data(2, 2, 100)
    state = jax.eval_shape(lambda rng: agent.init(rng, data), jax.random.PRNGKey(0))
    assert StateSizes()(run).state == sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(state))


def test_more_at_once_need_more_and_what_is_there_is_not_asked_for_again(tmp_path):
    runs = [Run(toy_run(tmp_path, seeds=(seed,))) for seed in range(5)]
    one, two, all_ = (plan_disk(runs, at_once) for at_once in (1, 2, None))
    assert (two.besides, all_.besides) == (2 * one.besides, 5 * one.besides)
    assert one.stays == two.stays == all_.stays and one.needed == one.stays + one.besides
    (runs[0].directory.checkpoints / "10").mkdir(parents=True)
    (runs[0].directory.checkpoints / "10" / "array").write_bytes(bytes(1000))
    assert plan_disk(runs, 1).needed == one.needed - 1000
    empty = [Run(toy_run(tmp_path, protocol=Protocol(0, 0, 0, False, 0, 0)))]
    assert plan_disk(empty, 1).needed == disk.OTHER_RECORDS
    online = disk_of(Run(toy_run(tmp_path, online=Online(1000, start=5))), Bytes(0, 0))
    assert online.records > 2 * 1000 * 4 * (2 + 2 + 2)


def test_a_disk_with_less_free_is_refused_in_a_line_before_any_work(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(shutil, "disk_usage", lambda place: SimpleNamespace(free=50_000))
    asked = ["--suite=toy", "--agents=bc", f"--out={tmp_path / 'out'}", "--jobs=1"]
    with pytest.raises(UserError, match=r"these 2 runs write .*, of which .* stay, .*out has 50 kB free") as refused:
        run_all.main(asked)
    assert "\n" not in str(refused.value) and not (tmp_path / "out").exists()
    assert run_all.main([*asked, "--dry-run"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "besides while runs train, 1 at once" in text and "has 50 kB free, which is too little" in text


@pytest.mark.parametrize(
    "count, text", [(0, "0 B"), (999, "999 B"), (1_234, "1.23 kB"), (999_600_000, "1 GB"), (3.1234e15, "3,123 TB")]
)
def test_sizes_are_read_by_people(count, text):
    assert size(count) == text
