"""What is left of a finished run: policies that act as training evaluated them."""

import contextlib
import csv
import dataclasses
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from agents.roster import ROSTER
from benchmark import load_policy, train
from benchmark.common.errors import UserError
from benchmark.evaluate import main
from benchmark.loop import players
from benchmark.loop.acting import layout_of, read_by_acting
from benchmark.loop.evaluating import evaluate_policies, evaluate_run
from benchmark.loop.keeping import keep_policies, left_out
from benchmark.loop.played import EPISODES, FILE
from benchmark.loop.players import Asked
from benchmark.loop.segments import init_states
from benchmark.loop.worker import execute
from benchmark.planning.configure import configure
from benchmark.planning.plan import known_settings
from benchmark.planning.registry import agent_class
from benchmark.planning.run import Run
from benchmark.runs.policies import CARD, find_policies, policy_folder, read_card
from benchmark.runs.protocol import Protocol
from benchmark.runs.record import RunDirectory
from benchmark.runs.run import RunSpec
from tests.helpers.toy_runs import SUITE

ROOT = Path(__file__).resolve().parents[2]
PROTOCOL = Protocol(steps=2, eval_every=1, eval_episodes=8, eval_first=False, log_every=1, checkpoint_every=1)
SMALL = dict(hidden=(8,), batch_size=8, ensemble=2, flow_steps=2, diffusion_steps=2, chunk_length=2, candidates=3)
SMALL |= dict(pretraining_steps=1)
BOUNDS = ("extra/low", "extra/high")
OF_AN_EPISODE = ("success", "return", "length")
OWN = """
from dataclasses import dataclass

import jax.numpy as jnp

from agents.base import option
from agents.fql import FQL, FQLConfig


@dataclass(frozen=True)
class OwnConfig(FQLConfig):
    by: str = option("one_step", "acting: which policy", choices=("one_step", "shift"))


class Own(FQL):
    name = "own"
    Config = OwnConfig
    acting_options = ("by",)

    def facts(self, data, rng):
        return {"shift": data.rewards[: self.chunk_dim], "unread": data.rewards.sum(), "scale": 1 + 0 * data.rewards[0]}

    def sample_actions(self, online, target, observations, rng):
        sums = online.unread + target.critic(observations, jnp.zeros((len(observations), self.chunk_dim)))  # of no use
        if self.config.by == "shift":
            return jnp.broadcast_to(0.1 * online.shift, (len(observations), self.chunk_dim))
        return online.scale * super().sample_actions(online, target, observations, rng)
"""


def spec_of(out, agent="bc", **more):
    settings = known_settings(agent_class(agent), SMALL) | SUITE.agent_settings.get(agent, {})
    settings |= known_settings(agent_class(agent), SMALL)
    spec = RunSpec(agent, "toy-modes", (0, 3), settings, PROTOCOL, str(out), name=agent_class(agent).name)
    return dataclasses.replace(spec, **more)


def rows(path):
    return list(csv.DictReader(path.open()))


def measured(found):
    return [[row[name] for name in ("step", "seed", "episodes", *OF_AN_EPISODE)] for row in found]


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """The folder of a finished run that kept the policies of both its evaluations; only read."""
    spec = spec_of(tmp_path_factory.mktemp("kept"), keep_policies=True)
    execute(spec, quiet=True)
    return spec.path


@pytest.fixture
def run(kept, tmp_path):
    return shutil.copytree(kept, tmp_path / "run")


@pytest.fixture
def policy(run):
    return policy_folder(run, 3)


# ------------------------------------------------------------------------------------------- what acting reads


def traced(name, **settings):
    cls = agent_class(name)
    agent = cls(configure(cls, known_settings(cls, SMALL), settings), 2, 2)
    layout = layout_of(agent, dict.fromkeys(("low", "high"), ("float32", ())) if name == "value_flows" else {})
    read = read_by_acting(agent, layout)
    return {"/".join(array.split("/")[:2]) for array in read}, left_out(layout, read)


@pytest.mark.parametrize(
    ("agent", "read"),
    [
        ("bc", {"params/flow"}),
        ("fql", {"params/one_step"}),
        ("rql", {"targets/actor"}),
        ("ifql", {"params/flow", "params/critic"}),
        ("bdpo", {"targets/actor", "targets/critic"}),
        ("value_flows", {"params/flow", "params/one_step", "params/critic", "extra/is_online", *BOUNDS}),
        ("qgf", {"params/flow", "targets/critic"}),
    ],
)
def test_acting_reads_the_networks_that_its_equation_has(agent, read):
    found, missing = traced(agent)
    assert found == read and not found & set(missing)


def test_a_network_that_acting_reads_at_one_value_of_an_acting_option_is_kept(tmp_path):
    file = tmp_path / "own.py"
    file.write_text(OWN)
    cls = agent_class(str(file))
    extra = {"shift": ("float32", (4,)), "unread": ("float32", ()), "scale": ("float32", ())}
    for by in ("one_step", "shift"):
        agent = cls(configure(cls, known_settings(cls, SMALL), {"by": by}), 2, 2)
        read = read_by_acting(agent, layout_of(agent, extra))
        assert {name.split("/")[1] for name in read} == {"one_step", "shift", "scale"}


# ------------------------------------------------------------------------------------------------ what is left


def test_a_finished_run_keeps_its_policies_and_no_checkpoint(kept):
    assert not (kept / "checkpoints").exists()
    assert [str(path.relative_to(kept)) for path in find_policies(kept)] == [
        f"policies/{folder}seed-{seed}" for folder in ("", "step-1/", "step-2/") for seed in (0, 3)
    ]
    card = read_card(policy_folder(kept, 3))
    config = json.loads((kept / "config.json").read_text())
    (start,) = json.loads((kept / "provenance.json").read_text())["starts"]
    assert card.hyperparameters == config["hyperparameters"] and card.task == "toy-modes" and card.sizes == [2, 2]
    assert (card.agent, card.seed, card.seeds, card.step, card.updates) == ("bc", 3, [0, 3], 2, 2)
    assert card.dataset["fingerprint"] == start["dataset"]["fingerprint"] and "path" not in card.dataset
    assert card.made["commit"] == start["commit"] and card.made["versions"] == start["versions"]
    last = rows(kept / "eval.csv")[-1]
    assert {name: str(card.evaluation[name]) for name in ("step", "episodes")} == {
        name: last[name] for name in ("step", "episodes")
    }
    assert card.evaluation["success"] == pytest.approx(float(last["success"])) and card.license.startswith("MIT")
    assert str(kept.parent) not in (policy_folder(kept, 3) / "card.json").read_text()


def test_checkpoints_are_kept_where_that_is_asked(tmp_path):
    words = ["--agent=bc", "--task=toy-modes", "--protocol=toy", "--steps=2", "--eval-episodes=2", "--set=hidden=8"]
    train.main([*words, f"--out={tmp_path}", "--keep-checkpoints"])
    (path,) = tmp_path.glob("bc/*/*")
    assert (path / "checkpoints" / "2").is_dir() and not list(path.glob("policies/step-*"))


def test_a_run_that_ended_between_its_last_checkpoint_and_its_end_writes_its_policies_when_it_goes_on(tmp_path):
    spec = spec_of(tmp_path, keep_checkpoints=True)
    execute(spec, quiet=True)
    whole = {
        path.relative_to(spec.path): (path / "parameters.safetensors").read_bytes() for path in find_policies(spec.path)
    }
    shutil.rmtree(spec.path / "policies")
    status = json.loads((spec.path / "status.json").read_text())
    (spec.path / "status.json").write_text(json.dumps(status | {"state": "running"}))
    execute(dataclasses.replace(spec, keep_checkpoints=False), quiet=True)
    again = {
        path.relative_to(spec.path): (path / "parameters.safetensors").read_bytes() for path in find_policies(spec.path)
    }
    assert again == whole and len(whole) == 2 and not (spec.path / "checkpoints").exists()


# ------------------------------------------------------------------------------------------------- played again


@pytest.mark.slow
@pytest.mark.parametrize("agent", ROSTER)
def test_equal_seeds_give_the_numbers_that_training_recorded(agent, tmp_path):
    spec = spec_of(tmp_path, agent, protocol=dataclasses.replace(PROTOCOL, steps=1))
    execute(spec, quiet=True)
    found = evaluate_policies([spec.path / "policies"], Asked())
    recorded = rows(spec.path / "eval.csv")
    played = [row for folder in find_policies(spec.path) for row in rows(folder / FILE)]
    assert measured(played) == measured(recorded) and len(found) == 2


def test_every_kept_step_gives_its_own_numbers_and_one_seed_alone_the_same(run):
    before = (run / "eval.csv").read_text()
    assert main(["--policy", str(run)]) == 0
    for step in (None, 1, 2):
        recorded = [row for row in rows(run / "eval.csv") if row["step"] == str(step or 2)]
        assert measured([rows(policy_folder(run, seed, step) / FILE)[0] for seed in (0, 3)]) == measured(recorded)
    alone = policy_folder(run, 3, 1)
    main(["--policy", str(alone)])
    first, second = rows(alone / FILE)
    assert first == second and (run / "eval.csv").read_text() == before


def test_every_episode_is_kept(policy):
    evaluate_policies([policy], Asked())
    (mean,), episodes = rows(policy / FILE), rows(policy / EPISODES)
    assert [row["episode"] for row in episodes] == [str(i) for i in range(8)]
    for name in OF_AN_EPISODE:
        assert np.mean([float(row[name]) for row in episodes]) == pytest.approx(float(mean[name]))
    assert {(row["seed"], row["episode_seed"], row["task"]) for row in episodes} == {("3", "3", "toy-modes")}


def test_a_seed_of_evaluation_gives_all_policies_the_same_episodes(run):
    found = evaluate_policies([policy_folder(run, seed) for seed in (0, 3)], Asked(seeds=(7, 3), episodes=4))
    assert [(row["seed"], row["episode_seed"]) for row in found] == [(0, 7), (3, 7), (0, 3), (3, 3)]
    own = evaluate_policies([policy_folder(run, 3)], Asked(episodes=4))
    assert own[0] == found[3] and found[1]["return"] != found[3]["return"]


def test_another_task_is_played_where_sizes_are_the_same(policy):
    (row,) = evaluate_policies([policy], Asked(task="toy-detour", episodes=2))
    assert row["task"] == "toy-detour" and rows(policy / FILE)[0]["task"] == "toy-detour"
    with pytest.raises(
        UserError, match=r"acts on observations of 2 numbers with actions of 2; cube-single.* has 28 and 5"
    ):
        evaluate_policies([policy], Asked(task="cube-single-play-singletask-task1-v0"))


def test_an_agent_of_ones_own_is_named_and_facts_of_the_data_come_with_the_policy(tmp_path, capsys):
    file = tmp_path / "own.py"
    file.write_text(OWN)
    spec = spec_of(tmp_path / "out", str(file))
    execute(spec, quiet=True)
    policies = spec.path / "policies"
    assert main(["--policy", str(policies), "--agent", str(file), "--sweep=by=one_step,shift"]) == 0
    assert measured(rows(policy_folder(spec.path, 3) / FILE)[2:3]) == measured(rows(spec.path / "eval.csv")[-1:])
    with pytest.raises(
        UserError, match=r"'own', an agent from outside .* own.py, with --agent .* kept it in .*/code/own.py"
    ):
        load_policy(policies / "seed-3")
    moved = tmp_path / "moved.py"
    shutil.move(file, moved)
    assert load_policy(policies / "seed-3", agent=moved).agent.name == "own"
    with pytest.raises(UserError, match=r"no agent file at .*own\.py"):
        load_policy(policies / "seed-3", agent=file)
    changed = tmp_path / "changed.py"
    changed.write_text(OWN + "\n")
    with pytest.raises(
        UserError, match=r"not the agent that .* was trained with: own.py was sha256 \w{12}, is \w{12} now"
    ):
        load_policy(policies / "seed-3", agent=changed)


# --------------------------------------------------------------------------------------------------- from Python


def test_a_policy_acts_from_python_alone_and_batched(policy):
    acting = load_policy(policy)
    observations = np.random.default_rng(0).normal(size=(3, 2))
    chunks = acting(observations, seed=5)
    assert chunks.shape == (3, 2, 2) and abs(chunks).max() <= 1
    assert np.allclose(acting(observations[0], seed=5), chunks[0], atol=1e-6)
    assert not np.allclose(acting(observations[0], seed=6), chunks[0])
    assert np.array_equal(acting(observations, seed=5), chunks)
    with pytest.raises(
        UserError, match=r"observations of 2 numbers, or a batch of such, not on an array of shape \(3,\)"
    ):
        acting(np.zeros(3))
    for seed in (-1, 0.5, [[1, 2], [3, 4]]):
        with pytest.raises(UserError, match="seed must be a whole number"):
            acting(observations, seed=seed)


def test_an_evaluations_words_give_its_noise(policy):
    acting = load_policy(policy)
    state, key = acting.layout.filled(acting.arrays, 0), jax.random.PRNGKey(3)
    for word in (2, 0, 1):
        key = jax.random.fold_in(key, word)
    observation = np.array([0.1, -0.3], np.float32)
    expected = acting.agent.act(state, observation[None], key)[0]
    assert np.allclose(acting(observation, seed=(3, 2, 0, 1)), np.clip(expected, -1, 1), atol=1e-6)


def test_importing_benchmark_loads_no_jax():
    code = "import sys, benchmark; sys.exit('jax' in sys.modules or 'flax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


def untrained(out):
    """The folder of a policy for a task of OGBench, as it is before the first update."""
    task, cls = "cube-single-play-singletask-task1-v0", agent_class("bc")
    spec = dataclasses.replace(spec_of(out), task=task, settings=dict(hidden=(8,), flow_steps=2))
    config = Run(spec).config
    spec.path.mkdir(parents=True)
    (spec.path / "config.json").write_text(json.dumps(config))
    agent = cls(configure(cls, spec.settings), 28, 5)
    states = init_states(agent, np.asarray(spec.seeds, np.uint32))
    keep_policies(spec.path, agent, states, {0: 0, 3: 1}, 0, [], at_end=True)
    return policy_folder(spec.path, 3)


@pytest.mark.slow
def test_the_page_plays_a_policy_in_an_environment_as_written(tmp_path, capsys):
    page = (ROOT / "docs/policies.md").read_text()
    code = re.search(r"```python\n(import ogbench.*?)```", page, re.S)[1]
    code, places = re.subn(r'load_policy\(".*"\)', f'load_policy("{untrained(tmp_path)}")', code)
    exec(code, {})
    success, steps = capsys.readouterr().out.split()
    assert places == 1 and success in ("True", "False") and 1 <= int(steps) <= 200


def test_the_page_reads_runs_as_written(kept):
    page = (ROOT / "docs/policies.md").read_text()
    code = re.search(r"```python\n(from analysis.*?)```", page, re.S)[1].replace("runs/quickstart", str(kept))
    found = {}
    exec(code, found)
    assert len(found["runs"].evaluations) == 4 and list(found["runs"].runs["agent"]) == ["bc"]


def test_what_was_set_aside_is_found_only_where_it_is_named(tmp_path):
    cards = [tmp_path / name / "policies/seed-0" / CARD for name in ("seeds-0", ".seeds-0-before")]
    for card in cards:
        card.parent.mkdir(parents=True)
        card.write_text("{}")
    assert find_policies(tmp_path) == [cards[0].parent]
    assert find_policies(tmp_path / ".seeds-0-before") == [cards[1].parent]


def test_an_expert_that_makes_data_is_no_policy_and_a_card_without_arrays_is_named(run, tmp_path):
    expert = tmp_path / "experts/ant"
    expert.mkdir(parents=True)
    for name in (CARD, "expert.safetensors"):
        (expert / name).write_text('{"body": "ant"}')
    assert set(find_policies(tmp_path)) == set(find_policies(run))
    with pytest.raises(UserError, match="holds no policy"):
        evaluate_policies([expert], Asked())
    (policy_folder(run, 3) / "parameters.safetensors").unlink()
    with pytest.raises(UserError, match=r"seed-3/parameters.safetensors: missing"):
        evaluate_policies([tmp_path], Asked())


@pytest.fixture
def several(kept, tmp_path):
    """A folder of three runs' policies, two of each."""
    for i in range(3):
        for seed in (0, 3):
            shutil.copytree(policy_folder(kept, seed), tmp_path / f"run-{i}/policies/seed-{seed}")
    return tmp_path


def test_only_policies_that_act_together_are_held_at_a_time(several, monkeypatch):
    held, most = set(), []

    class Counted(RunDirectory):
        def __enter__(self):
            held.add(self.path)
            most.append(len(held))
            return super().__enter__()

        def __exit__(self, *error):
            held.discard(self.path)
            super().__exit__(*error)

    monkeypatch.setattr(players, "RunDirectory", Counted)
    assert len(evaluate_policies([several], Asked())) == 6
    assert max(most) == 2 and not held


@pytest.mark.parametrize("fault", ["held by another", "damaged"])
def test_nothing_is_written_where_a_policy_of_a_later_group_cannot_be(several, fault):
    last = several / "run-2/policies/seed-3"
    with contextlib.ExitStack() as stack:
        if fault == "damaged":
            (last / FILE).write_text("a,b\n1,2,3\n")
        else:
            stack.enter_context(RunDirectory(last))
        with pytest.raises(UserError, match=r"being written by another process|not as many values"):
            evaluate_policies([several], Asked())
    assert not list(several.rglob(EPISODES))


def test_rows_have_the_runs_label_and_what_tells_its_hyperparameters_apart(run, tmp_path):
    execute(spec_of(tmp_path, settings={**spec_of(tmp_path).settings, "batch_size": 4}, shown_as="mine"), quiet=True)
    other = spec_of(tmp_path, shown_as="mine").path
    assert read_card(policy_folder(other, 0)).label == "mine"
    before = policy_folder(run, 0) / CARD
    before.write_text(
        json.dumps({name: value for name, value in json.loads(before.read_text()).items() if name != "label"})
    )
    evaluate_run(other, Asked())
    evaluate_policies([other, policy_folder(run, 0)], Asked())
    mine, again, first = (
        rows(folder / EPISODES)[0] for folder in (other, policy_folder(other, 0), policy_folder(run, 0))
    )
    assert [row["label"] for row in (mine, again, first)] == ["mine", "mine", "bc"]
    assert mine["hyperparameters"] == again["hyperparameters"] != first["hyperparameters"]
