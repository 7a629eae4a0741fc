"""Other values of what only acting reads, on one trained state."""

import csv
import dataclasses
import json
import shutil

import numpy as np
import pytest

from benchmark.common.errors import UserError
from benchmark.evaluate import main
from benchmark.loop import players
from benchmark.loop.evaluating import CHOOSING, evaluate_run
from benchmark.loop.played import EPISODES, FILE
from benchmark.loop.players import Asked
from benchmark.loop.worker import execute
from benchmark.runs.protocol import Online, Protocol
from benchmark.runs.record import Busy, RunDirectory
from benchmark.runs.run import RunSpec

PROTOCOL = Protocol(steps=20, eval_every=10, eval_episodes=30, eval_first=False, log_every=10, checkpoint_every=10)
SMALL = dict(hidden=(8,), batch_size=16, flow_steps=2)
MEASURES = ("episodes", "success", "return", "length")
SHRINKING = """
from dataclasses import dataclass

from agents.base import option
from agents.bc import BC


@dataclass(frozen=True)
class ShrinkingConfig(BC.Config):
    shrink: float = option(0.0, "acting: actions are multiplied by it", low=0, high=1)


class Shrinking(BC):
    name = "shrinking"
    Config = ShrinkingConfig
    acting_options = ("shrink",)

    def sample_actions(self, online, target, observations, rng):
        return self.config.shrink * super().sample_actions(online, target, observations, rng)
"""


def evaluate(path, fixed=(), sweeps=(), episodes=None, number=None, **more):
    return evaluate_run(path, Asked(fixed, sweeps, episodes, number, **more))


def trained(agent, out, **settings):
    """The folder of a finished run of two seeds, which kept its checkpoints."""
    spec = RunSpec(str(agent), "toy-modes", (0, 3), SMALL | settings, PROTOCOL, str(out), keep_checkpoints=True)
    execute(spec, quiet=True)
    return spec.path


def table(path):
    return list(csv.DictReader(path.open()))


def measured(rows):
    return [[row[name] for name in ("step", "seed", *MEASURES)] for row in rows]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of QGF that is only read."""
    return trained("qgf", tmp_path_factory.mktemp("qgf"), guidance_weight=0.5)


@pytest.fixture
def copy(run, tmp_path):
    return shutil.copytree(run, tmp_path / "moved")


@pytest.fixture
def unfinished(copy):
    """A run that was interrupted after its last checkpoint, and has no policy yet."""
    shutil.rmtree(copy / "policies")
    status = json.loads((copy / "status.json").read_text())
    (copy / "status.json").write_text(json.dumps(status | {"state": "interrupted"}))
    return copy


@pytest.mark.parametrize("agent", ["bc", "fql", "rql", "qgf"])
def test_at_its_own_values_a_run_gives_the_numbers_of_its_last_evaluation(agent, tmp_path, run, request):
    path = request.getfixturevalue("copy") if agent == "qgf" else trained(agent, tmp_path)
    recorded = (path / "eval.csv").read_text()
    assert main([f"--run={path}"]) == 0
    last = [row for row in table(path / "eval.csv") if row["step"] == "20"]
    rows = table(path / FILE)
    assert measured(rows) == measured(last) and len(rows) == 2
    assert {(row["pass"], row["episodes_of"], row["chosen"]) for row in rows} == {("report", "20", "")}
    assert (path / "eval.csv").read_text() == recorded


def test_a_sweep_chooses_on_other_episodes_than_it_reports(tmp_path):
    agent = tmp_path / "shrinking.py"
    agent.write_text(SHRINKING)
    path = trained(agent, tmp_path)
    agent.unlink()  # what the run keeps of it is enough
    rows = evaluate(path, sweeps=["shrink=1,0,0.5"], episodes=200)
    means = {
        (name, value): np.mean([r["success"] for r in rows if (r["pass"], r["shrink"]) == (name, value)])
        for name in ("selection", "report")
        for value in (1.0, 0.0, 0.5)
    }
    best = max((1.0, 0.0, 0.5), key=lambda value: means["selection", value])
    assert means["selection", 1.0] < means["selection", best] and means["selection", 1.0] != means["report", 1.0]
    assert [r["shrink"] for r in rows] == 2 * [1.0, 1.0, 0.0, 0.0, 0.5, 0.5]
    assert all(r["chosen"] == (r["shrink"] == best) for r in rows)
    assert [r["episodes_of"] for r in rows] == 6 * [20 + CHOOSING] + 6 * [20]
    assert {r["episodes"] for r in rows} == {200}


def test_rows_are_appended_and_every_product_of_values_has_its_own(copy):
    evaluate(copy, ["candidates=1"], number=0)
    first = (copy / FILE).read_text()
    rows = evaluate(copy, ["candidates=1"], ["guidance_weight=0,0.5", "guess=one_step,noisy"])
    assert (copy / FILE).read_text().startswith(first) and len(table(copy / FILE)) == 2 + len(rows)
    assert len({(row["guidance_weight"], row["guess"]) for row in rows}) == 4 and len(rows) == 2 * 2 * 4
    names = ["pass", "agent", "label", "hyperparameters", "task", "step", "seed", "episode_seed", "episodes_of"]
    names += ["guidance_weight", "guess", "candidates"]
    assert list(table(copy / FILE)[0]) == [*names, *MEASURES, "chosen"]
    assert len(table(copy / EPISODES)) == 30 * len(table(copy / FILE))
    assert [row["guess"] for row in table(copy / FILE)[2:8]] == [*["one_step"] * 2, *["noisy"] * 2, *["one_step"] * 2]


def test_the_values_of_one_pass_meet_the_same_episodes(copy):
    one, other = (evaluate(copy, [f"guess={guess}", "guidance_weight=0"], number=7) for guess in ("noisy", "one_step"))
    assert measured(one) == measured(other)
    assert measured(evaluate(copy, ["guidance_weight=0"], number=8)) != measured(one)


def test_a_run_that_is_not_finished_plays_its_newest_checkpoint(unfinished):
    last = [row for row in table(unfinished / "eval.csv") if row["step"] == "20"]
    evaluate(unfinished)
    assert measured(table(unfinished / FILE)) == measured(last)
    with pytest.raises(UserError, match="is not finished, so only its own task, toy-modes, is played"):
        evaluate(unfinished, task="toy-detour")


def test_seeds_that_diverged_do_not_play(unfinished, monkeypatch):
    restore = players.Checkpoints.restore

    def diverged(*arguments):
        update, states, record = restore(*arguments)
        return update, states, record | {"diverged": {"0": 10}}

    monkeypatch.setattr(players.Checkpoints, "restore", diverged)
    assert [row["seed"] for row in evaluate(unfinished)] == [3]


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (["expectile=0.5"], "--set expectile: not one .* only acting reads.*: guidance_weight, guess, candidates"),
        (["guidence_weight=1"], r"did you mean 'guidance_weight'\?"),
        (["guidance_weight=-1"], "guidance_weight must be at least 0, not -1"),
        (["guess=noisi"], r"guess must be one of .*did you mean 'noisy'\?"),
    ],
)
def test_what_acting_cannot_have_is_named(run, asked, said):
    for given in (dict(fixed=asked), dict(sweeps=[f"{asked[0]},3"])):
        with pytest.raises(UserError, match=said.replace("--set", "--(set|sweep)")):
            evaluate(run, **given)
    assert not (run / FILE).exists()


def test_values_that_are_named_twice_are_refused(run):
    with pytest.raises(UserError, match="guess=noisy,noisy names a value twice"):
        evaluate(run, sweeps=["guess=noisy,noisy"])
    with pytest.raises(UserError, match="'guess' is in --set and in --sweep"):
        evaluate(run, ["guess=noisy"], ["guess=noisy,one_step"])


def test_a_run_that_cannot_be_played_is_told_in_a_line(copy, tmp_path):
    with pytest.raises(UserError, match="is not the folder of a run"):
        evaluate(tmp_path)
    (copy / FILE).write_bytes(b"\xff\xfe")
    with pytest.raises(UserError, match=f"{FILE}: no table"):
        evaluate(copy)
    assert (copy / FILE).read_bytes() == b"\xff\xfe"
    with RunDirectory(copy), pytest.raises(Busy):
        evaluate(copy)


def test_what_an_unfinished_run_needs_is_told_in_a_line(unfinished):
    config = json.loads((unfinished / "config.json").read_text())
    (unfinished / "config.json").write_text(json.dumps(config | {"task": "cube-single-play-singletask-task1-v0"}))
    with pytest.raises(UserError, match=r"no dataset at .* was trained on"):
        evaluate(unfinished)
    shutil.rmtree(unfinished / "checkpoints")
    with pytest.raises(UserError, match=r"has no policy and no checkpoint; .* --keep-checkpoints"):
        evaluate(unfinished)


def test_files_of_an_agent_that_were_changed_are_not_run(tmp_path):
    agent = tmp_path / "shrinking.py"
    agent.write_text(SHRINKING)
    spec = RunSpec(str(agent), "toy-modes", (0,), SMALL, dataclasses.replace(PROTOCOL, steps=0), str(tmp_path))
    execute(spec, quiet=True)
    (spec.path / "code" / "shrinking.py").write_text("raise BaseException")
    with pytest.raises(UserError, match="not those that the run was made by"):
        evaluate(spec.path)


def test_a_run_with_an_online_phase_plays_its_policies(tmp_path):
    online = Online(steps=10, start=2)
    spec = RunSpec("bc", "toy-modes", (0, 3), SMALL, PROTOCOL, str(tmp_path), online=online)
    execute(spec, quiet=True)
    evaluate(spec.path)
    last = [row for row in table(spec.path / "eval.csv") if row["step"] == "30"]
    assert measured(table(spec.path / FILE)) == measured(last) and len(last) == 2
