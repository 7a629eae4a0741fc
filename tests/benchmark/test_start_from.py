"""A policy that was trained once is what many runs begin with: what is taken, recorded, refused."""

import dataclasses
import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import run_all
from agents.bdpo import BDPO
from agents.roster import ROSTER
from analysis import comparable, load_runs
from benchmark import train
from benchmark.common.errors import Stopped, UserError
from benchmark.launching import cost
from benchmark.loop import starting
from benchmark.loop.segments import init_states
from benchmark.loop.starting import Source, read_source, starting_from
from benchmark.loop.worker import execute
from benchmark.planning.registry import agent_class
from benchmark.planning.run import Run
from benchmark.runs.protocol import Protocol
from benchmark.runs.record import RunDirectory
from benchmark.runs.run import RunSpec, Start
from envs.tasks import TASKS, dimensions, get_task
from envs.toy.world import ToyWorld
from tests.helpers.loop import training_of

CUBE = "cube-single-play-singletask-task1-v0"
TASK = get_task("toy-detour")
PROTOCOL = Protocol(steps=4, eval_every=4, eval_episodes=1, eval_first=False, log_every=2, checkpoint_every=2)
SMALL = dict(hidden=(8,), batch_size=8, chunk_length=2, flow_steps=2)
WORDS = ["--protocol=toy", "--steps=4", "--eval-episodes=1", "--set=hidden=8", "--set=flow_steps=2"]


def spec_of(out, agent="bc", seeds=(0, 3), task=TASK.name, **settings):
    hyperparameters = {**SMALL, **settings}
    return RunSpec(agent, task, seeds, hyperparameters, PROTOCOL, str(out), name=agent, keep_checkpoints=True)


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """The folder of a finished run of behaviour cloning, of seeds 3 and 0."""
    spec = spec_of(tmp_path_factory.mktemp("clone"), seeds=(3, 0))
    execute(spec, quiet=True)
    return spec.path


def training(path, spec, **options):
    """The training of a run, in a folder."""
    run = Run(spec)
    agent = run.agent_class(run.hyperparameters, 2, 2)
    return training_of(RunDirectory(path), agent, PROTOCOL, ToyWorld(TASK), spec.seeds, start=spec.start, **options)


def same(tree, other):
    """Whether all arrays are equal."""
    return all(jax.tree.leaves(jax.tree.map(lambda a, b: np.array_equal(a, b), tree, other)))


def seed_of(tree, index):
    return jax.tree.map(lambda leaf: np.asarray(leaf)[index], tree)


def test_a_clones_policy_is_all_that_was_trained_and_serves_where_no_checkpoint_was_kept(clone, tmp_path):
    copy = shutil.copytree(clone, tmp_path / "copy")
    shutil.rmtree(copy / "checkpoints")
    whole, left = read_source(clone), read_source(copy)
    assert left.start.digest == whole.start.digest and left.start.updates == whole.start.updates == 4
    assert same(left.params, whole.params) and left.targets == whole.targets == {}
    card = copy / "policies/seed-3/card.json"
    card.write_text(json.dumps(json.loads(card.read_text()) | {"left_out": ["params/critic", "targets/critic"]}))
    with pytest.raises(UserError, match=r"its policy lacks params/critic, targets/critic; .* --keep-checkpoints"):
        read_source(copy)


def test_every_seed_begins_with_the_first_seeds_flow_and_with_all_else_of_its_own(clone, tmp_path):
    (spec,) = starting_from(str(clone), [spec_of(tmp_path, "ifql", (0, 5), ensemble=2)])
    assert spec.start.networks == {"flow": "flow"} and spec.start.seed == 3 and spec.start.updates == 4
    begun = training(tmp_path / "run", spec)
    begun.resume()
    own = init_states(begun.agent, jnp.asarray([0, 5], jnp.uint32))
    for index in range(2):
        state, fresh = seed_of(begun.states, index), seed_of(own, index)
        assert same(state.params["flow"], read_source(clone).params["flow"])
        assert not same(state.params["flow"], fresh.params["flow"])
        assert same(state.params["critic"], fresh.params["critic"]) and same(state.targets, fresh.targets)
        assert same(state.optimizer, fresh.optimizer) and same(state.rng, fresh.rng) and state.step == 0


@pytest.mark.slow
def test_targets_are_taken_with_their_networks(tmp_path):
    source = spec_of(tmp_path, "fql", (0,), ensemble=2)
    execute(source, quiet=True)
    found = read_source(source.path)
    assert not same(found.params["critic"], found.targets["critic"])
    (spec,) = starting_from(str(source.path), [spec_of(tmp_path / "other", "ifql", ensemble=2)])
    assert spec.start.networks == {"critic": "critic", "flow": "flow"}
    begun = training(tmp_path / "run", spec)
    begun.resume()
    assert same(seed_of(begun.states.params, 1)["critic"], found.params["critic"])
    for name, target in seed_of(begun.states.targets, 1).items():
        assert same(target, found.targets.get(name, found.params.get(name, target)))


@pytest.mark.slow
def test_a_clone_goes_to_the_flows_that_an_agent_says_and_pretraining_is_skipped(clone, tmp_path):
    plain = spec_of(tmp_path, "trqam", ensemble=2, pretraining_steps=6, kl_budget=0.3)
    (spec,) = starting_from(str(clone), [plain])
    assert spec.start.networks == {"slow": "flow", "fast": "flow"}
    told = []
    begun = training(tmp_path / "run", spec, say=told.append)
    begun.resume()
    assert begun.step == 0 and begun.progress == 6 and begun.states.step.tolist() == [6, 6]
    assert "goes without pretraining" in told[0]
    flow = read_source(clone).params["flow"]
    for tree in (begun.states.params["slow"], begun.states.params["fast"], begun.states.targets["slow"]):
        assert same(seed_of(tree, 1), flow)
    begun.run()
    assert begun.states.step.tolist() == [10, 10]
    assert cost._pretraining(plain) == 6 and cost._pretraining(spec) == 0


def test_bdpo_without_pretraining_begins_with_the_averaged_clone_as_its_actor():
    agent = BDPO(BDPO.Config(hidden=(8,), ensemble=2, batch_size=8), 2, 2)
    state = agent.init(jax.random.PRNGKey(0))
    clone = jax.tree.map(jnp.ones_like, state.targets["behaviour"])
    state = state.replace(targets=state.targets | {"behaviour": clone})
    began = agent.begin(state, "training")
    assert same(began.params["actor"], state.targets["behaviour"])
    assert same(began.targets["actor"], state.targets["behaviour"])
    assert same(agent.begin(began, "online"), began) and set(agent.pretrains) < set(agent.networks())


@pytest.mark.parametrize(
    "name, clone, policy, steps",
    [("bdpo", "behaviour", "actor", "diffusion_steps"), ("trqam", "slow", "fast", "flow_steps")],
)
@pytest.mark.parametrize("all_taken", [True, False])
def test_a_policy_that_was_taken_is_kept_when_training_begins(
    name, clone, policy, steps, all_taken, tmp_path, monkeypatch
):
    settings = dict(hidden=(8,), batch_size=8, chunk_length=2, ensemble=2, pretraining_steps=6) | {steps: 2}
    spec = RunSpec(name, TASK.name, (0, 5), settings, PROTOCOL, str(tmp_path), name=name)
    agent = Run(spec).agent_class(Run(spec).hyperparameters, 2, 2)
    first = seed_of(init_states(agent, jnp.asarray([99], jnp.uint32)), 0)
    source = Source(None, first.params, jax.tree.map(lambda leaf: leaf / 2, first.targets))
    taken = {network: network for network in (agent.networks() if all_taken else [clone])}
    start = Start(str(tmp_path), name, TASK.name, 0, 4, "sha256:0", taken)
    monkeypatch.setattr(starting, "read_source", lambda folder: dataclasses.replace(source, start=start))
    begun = training(tmp_path / "run", dataclasses.replace(spec, start=start))
    begun.resume()
    assert begun.progress == 6, "pretraining is skipped"
    begun.begin("training")
    for index in range(2):
        params, targets = (seed_of(tree, index) for tree in (begun.states.params, begun.states.targets))
        if all_taken:
            assert same(params, source.params) and same(targets, source.targets)
        else:
            assert same(params[policy], (source.targets if name == "bdpo" else source.params)[clone])


@pytest.mark.slow
def test_a_run_that_was_cut_goes_on_without_its_source_and_ends_the_same(clone, tmp_path):
    copy = shutil.copytree(clone, tmp_path / "copy")
    (spec,) = starting_from(str(copy), [spec_of(tmp_path, "ifql", ensemble=2)])
    whole = training(tmp_path / "whole", spec)
    whole.run()
    with pytest.raises(Stopped):
        training(tmp_path / "cut", spec, should_stop=lambda: True).run()
    shutil.rmtree(copy)
    cut = training(tmp_path / "cut", spec)
    cut.run()
    assert same(cut.states, whole.states)
    assert (tmp_path / "cut/train.csv").read_text() == (tmp_path / "whole/train.csv").read_text()
    with pytest.raises(UserError, match="there is no folder"):
        training(tmp_path / "late", spec).run()


def test_a_source_that_changed_since_the_plan_is_refused(clone, tmp_path):
    (spec,) = starting_from(str(clone), [spec_of(tmp_path, "ifql", ensemble=2)])
    changed = dataclasses.replace(spec, start=dataclasses.replace(spec.start, digest="sha256:0"))
    with pytest.raises(UserError, match=r"has changed: it holds .*, planned was "):
        training(tmp_path / "run", changed).run()


@pytest.mark.slow
def test_the_record_says_what_a_run_started_from_and_another_start_is_another_configuration(clone, tmp_path, capsys):
    words = ["--agent=bc", "--task=toy-detour", *WORDS, f"--out={tmp_path}"]
    train.main([*words, f"--start-from={clone}"])
    (path,) = tmp_path.glob("bc/*/*")
    config = json.loads((path / "config.json").read_text())["start"]
    digest = read_source(clone).start.digest
    common = dict(agent="bc", task="toy-detour", seed=3, updates=4, digest=digest, networks={"flow": "flow"})
    assert config == common and digest.startswith("sha256:")
    (made,) = json.loads((path / "provenance.json").read_text())["starts"]
    assert made["start"] == {**common, "folder": str(clone)}
    assert f"starts from bc on toy-detour, seed 3, update 4, {digest[:19]}: flow" in (path / "log.txt").read_text()
    train.main([*words, f"--start-from={clone}"])
    assert "is finished already" in capsys.readouterr().out
    with pytest.raises(UserError, match=r"another configuration \(start\..*digest: sha256:"):
        train.main([*words, f"--start-from={other_start(path, tmp_path)}"])
    with pytest.raises(UserError, match="another configuration"):
        train.main(words)
    with pytest.raises(UserError, match="is the run itself"):
        train.main([*words, f"--start-from={path}"])


def other_start(path, tmp_path):
    """The same run elsewhere, as a start."""
    return shutil.copytree(path, tmp_path / "elsewhere")


def test_the_start_travels_with_the_run(clone, tmp_path):
    (spec,) = starting_from(str(clone), [spec_of(tmp_path, "ifql", ensemble=2)])
    arrived = RunSpec.from_json(spec.to_json())
    assert arrived == spec and Run(arrived).config == Run(spec).config
    assert "start" not in Run(dataclasses.replace(spec, start=None)).config
    moved = dataclasses.replace(spec, start=dataclasses.replace(spec.start, folder="/elsewhere"))
    assert Run(moved).config == Run(spec).config
    broken = json.loads(spec.to_json())
    broken["start"]["networks"] = "flow"
    with pytest.raises(UserError, match="start: networks is 'flow', not an object"):
        RunSpec.from_json(json.dumps(broken))


def test_the_plan_says_what_the_runs_start_from(clone, tmp_path, capsys):
    words = ["--suite=toy", "--agents=bc,qam", "--tasks=toy-detour", "--set=hidden=8", "--dry-run", f"--out={tmp_path}"]
    run_all.main([*words, f"--start-from={clone}"])
    said = capsys.readouterr().out
    assert f"bc starts from {clone} (bc on toy-detour, seed 3, update 4, sha256:" in said
    assert "): slow (its flow), fast (its flow)" in said


@pytest.mark.slow
def test_runs_of_another_start_are_not_averaged_with_others(clone, tmp_path):
    plain = spec_of(tmp_path / "plain", seeds=(0,))
    (started,) = starting_from(str(clone), [spec_of(tmp_path / "started", seeds=(1,))])
    for spec in (plain, started):
        execute(spec, quiet=True)
    found = comparable(load_runs(tmp_path))
    assert sorted(set(found.evaluations["agent"])) == [
        f"bc (start={started.start.digest.removeprefix('sha256:')[:8]})",
        "bc (start=none)",
    ]


def unfinished(path):
    status = json.loads((path / "status.json").read_text())
    (path / "status.json").write_text(json.dumps(status | {"state": "interrupted", "step": 2}))


def diverged(path):
    status = json.loads((path / "status.json").read_text())
    (path / "status.json").write_text(json.dumps(status | {"diverged": {"3": 2}}))


def without_state(path):
    for name in ("checkpoints", "policies"):
        shutil.rmtree(path / name)


def newest(path):
    return path / "checkpoints" / "4"


def cut(path):
    file = max((newest(path) / "states").rglob("d/*"), key=lambda file: file.stat().st_size)
    file.write_bytes(file.read_bytes()[:-10])


@pytest.mark.parametrize(
    "damage, told",
    [
        (shutil.rmtree, "there is no folder '.*'"),
        (lambda path: (path / "config.json").unlink(), "config.json: missing, though the run is done"),
        (lambda path: [file.unlink() for file in path.glob("*.json")], "is not the folder of a run"),
        (lambda path: (path / "config.json").write_text("{"), "config.json: not JSON"),
        (unfinished, "is not finished, it is interrupted at step 2"),
        (diverged, "the first seed of .*, 3, diverged"),
        (without_state, "has no checkpoint; .* --keep-checkpoints"),
        (cut, r"the checkpoint .*/4 is damaged: .* is not as it was written"),
        (
            lambda path: (newest(path) / "checksums.json").unlink(),
            "4 is damaged: it has no checksums",
        ),
    ],
)
def test_a_folder_that_nothing_can_start_from_is_told_in_a_line(clone, tmp_path, damage, told):
    copy = shutil.copytree(clone, tmp_path / "copy")
    damage(copy)
    with pytest.raises(UserError, match=told) as error:
        starting_from(str(copy), [spec_of(tmp_path / "out")])
    assert "\n" not in str(error.value) and not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "agent, task, settings, told",
    [
        (
            "bc",
            "cube-single-play-singletask-task1-v0",
            {},
            "has observations of 2 and actions of 2 numbers; .* 28 and 5",
        ),
        ("bc", TASK.name, dict(hidden=(9,)), r"no network of bc \(flow\) has name and shapes of one of bc \(flow\)"),
        ("bc", TASK.name, dict(chunk_length=1), "hidden and chunk_length must be the same"),
        ("rebrac", TASK.name, dict(flow_steps=None), r"no network of rebrac \(critic, actor\)"),
        ("trqam", TASK.name, dict(hidden=(9,)), r"of trqam \(critic, slow \(flow\), fast \(flow\)\)"),
    ],
)
def test_a_run_that_the_source_does_not_fit_is_refused(clone, tmp_path, agent, task, settings, told):
    spec = spec_of(tmp_path, agent, task=task, **settings)
    spec = dataclasses.replace(spec, settings={name: value for name, value in spec.settings.items() if value})
    with pytest.raises(UserError, match=told):
        starting_from(str(clone), [spec])


def test_a_source_is_read_once_for_all_tasks_and_groups_of_seeds(clone, tmp_path, monkeypatch):
    read, taken = [], []
    plain, plain_taken = starting.read_source, starting.networks_taken
    monkeypatch.setattr(starting, "read_source", lambda folder: read.append(1) or plain(folder))
    monkeypatch.setattr(starting, "networks_taken", lambda run, source: taken.append(1) or plain_taken(run, source))
    specs = [spec_of(tmp_path, "ifql", (seed,), ensemble=2) for seed in range(5)]
    assert len({spec.start for spec in map(hashable, starting_from(str(clone), specs))}) == 1
    assert (len(read), len(taken)) == (1, 1)


def hashable(spec):
    return dataclasses.replace(spec, start=str(spec.start))


@pytest.mark.parametrize("name", ROSTER)
def test_what_an_agent_says_of_starts_are_networks_of_its_own(name):
    cls = agent_class(name)
    networks = set(cls(cls.Config(**{"hidden": (8,)}), 2, 2).networks())
    assert set(cls.begins_as) <= networks and set(cls.pretrains) <= networks


def test_every_task_has_its_dimensions():
    for task in TASKS.values():
        assert all(size > 0 for size in dimensions(task.domain)), task.name
    assert dimensions(get_task("pen-human-v1").domain) == (45, 24)
    data = ToyWorld(TASK).data
    assert dimensions(TASK.domain) == (data.observation_dim, data.action_dim)


@pytest.mark.parametrize("name", ["rql", "bdpo", "diffusion_ql", "trqam"])
def test_what_a_run_begins_with_has_the_form_of_its_agents_own_state(name, tmp_path, monkeypatch):
    settings = {"hidden": (8,), "batch_size": 8, "chunk_length": 2}
    agent = agent_class(name)(agent_class(name).Config(**settings), 2, 2)
    own = init_states(agent, jnp.asarray([0, 5], jnp.uint32))
    first = seed_of(own, 0)
    start = Start(str(tmp_path), name, TASK.name, 0, 4, "sha256:0", {network: network for network in agent.networks()})
    monkeypatch.setattr(starting, "read_source", lambda folder: Source(start, first.params, first.targets))
    _, states = starting.started(agent, own, start)
    assert jax.tree.structure(states) == jax.tree.structure(own)
    assert jax.tree.map(jnp.shape, states) == jax.tree.map(jnp.shape, own)
