"""Which code made a run is on record, and a changed algorithm never keeps its old results."""

import dataclasses
import hashlib
import shutil
from pathlib import Path

import pytest

import run_all
from analysis import comparable, load_runs
from benchmark import sweep, train
from benchmark.common.errors import UserError
from benchmark.common.files import write_json
from benchmark.common.machine import ROOT
from benchmark.common.reading import read_json
from benchmark.launching import front_door, slurm
from benchmark.launching.ledger import JobArray, Launch
from benchmark.launching.local import record_death
from benchmark.loop import worker
from benchmark.loop.worker import execute
from benchmark.planning.plan import plan
from benchmark.planning.protocols import PROTOCOLS
from benchmark.planning.run import Run
from benchmark.planning.suites import get_suite
from benchmark.runs import code as code_module
from benchmark.runs.code import LOOP, code_digest, imported_files, own_digests, own_files
from benchmark.runs.record import RunDirectory
from benchmark.runs.run import RunSpec
from envs.tasks import get_task
from tests.helpers.simulated_runs import write_run

AGENT = """from agents.bc import BC


class Mine(BC):
    name = "mine_of_test_own_code"

    def helped(self):
        from helper_of_test_own_code import CONSTANT

        return CONSTANT
"""


@pytest.fixture
def edit(tmp_path):
    """A function that writes a file of the agent as an editor would between two commands."""

    def write(name, text):
        (tmp_path / "mine" / name).write_text(text)
        for kept in (own_files, code_digest):
            kept.cache_clear()

    (tmp_path / "mine").mkdir()
    write("mine_of_test_own_code.py", AGENT)
    write("helper_of_test_own_code.py", "CONSTANT = 1\n")
    yield write
    write("mine_of_test_own_code.py", AGENT)


@pytest.fixture
def spec(tmp_path, edit):
    agent = str(tmp_path / "mine" / "mine_of_test_own_code.py")
    return RunSpec(agent, "toy-modes", (0,), {}, PROTOCOLS["empty"], str(tmp_path / "out"), "toy")


def test_a_run_has_digest_and_copy_of_every_file_that_defines_its_agent(spec):
    execute(spec, quiet=True)
    code = read_json(spec.path / "config.json")["code"]
    assert sorted(code) == ["helper_of_test_own_code.py", "mine_of_test_own_code.py"]
    for name, digest in code.items():
        assert hashlib.sha256((spec.path / "code" / name).read_bytes()).hexdigest() == digest
    assert (spec.path / "code" / "mine_of_test_own_code.py").read_text() == AGENT
    assert len(read_json(spec.path / "provenance.json")["starts"][0]["code"]) == 64


@pytest.mark.parametrize("name", ["mine_of_test_own_code.py", "helper_of_test_own_code.py"])
def test_a_run_of_a_file_that_changed_is_refused_with_both_digests_and_a_way_on(spec, edit, name):
    execute(spec, quiet=True)
    before = own_digests(spec.agent)[name]
    edit(name, AGENT + "# another algorithm\n")
    now = own_digests(spec.agent)[name]
    for do in (lambda spec: Run(spec).is_done(), execute):
        with pytest.raises(UserError) as caught:
            do(spec)
        told = str(caught.value)
        assert f"{name} was sha256 {before[:12]}, is sha256 {now[:12]} now" in told and "\n" not in told
        assert "--anew" in told and "--out" in told and str(spec.path / "code") in told


def test_anew_moves_the_old_run_aside_and_makes_another(spec, edit, tmp_path, capsys):
    arguments = [f"--agent={spec.agent}", "--task=toy-modes", "--protocol=empty", f"--out={tmp_path / 'out'}"]
    train.main(arguments)
    edit("mine_of_test_own_code.py", AGENT + "# another algorithm\n")
    with pytest.raises(UserError, match="made by other code"):
        train.main(arguments)
    train.main([*arguments, "--anew"])
    path = spec.path
    old = path.with_name(f".{path.name}-before")
    assert f"{path} begins anew; what it held is kept in {old}" in capsys.readouterr().out
    assert (old / "code" / "mine_of_test_own_code.py").read_text() == AGENT
    assert (path / "code" / "mine_of_test_own_code.py").read_text() != AGENT
    assert len(load_runs(tmp_path / "out")) == 1
    train.main([*arguments, "--anew"])
    assert path.with_name(f".{path.name}-before-2").is_dir()


def test_anew_belongs_to_the_front_door_too_and_a_plan_alone_moves_nothing(tmp_path, capsys):
    arguments = ["--suite=toy", "--agents=bc", "--tasks=toy-modes", "--seeds=0", "--protocol=empty"]
    arguments += [f"--out={tmp_path}", "--launcher=debug"]
    assert run_all.main(arguments) == 0
    assert run_all.main([*arguments, "--anew", "--dry-run"]) == 0
    assert "0 done, 1 to do" in capsys.readouterr().out and not list(tmp_path.glob("bc/*/.*before"))
    assert run_all.main([*arguments, "--anew"]) == 0
    assert len(list(tmp_path.glob("bc/*/.*before"))) == 1 and len(list(tmp_path.glob("bc/*/seeds-*"))) == 1


def asides(out):
    return sorted(path.name for path in out.glob("bc/*/.*before*"))


def test_anew_moves_nothing_where_the_launch_is_refused(tmp_path, monkeypatch):
    asked = ["--suite=toy", "--agents=bc", "--tasks=toy-modes,toy-detour", "--seeds=0", "--protocol=empty"]
    asked += [f"--out={tmp_path}"]
    assert run_all.main([*asked, "--launcher=debug"]) == 0
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UserError, match="there is no sbatch"):
        run_all.main([*asked, "--anew", "--launcher=slurm"])
    with RunDirectory(tmp_path / "bc/toy-modes/seeds-0"), pytest.raises(UserError, match="is being written by another"):
        run_all.main([*asked, "--anew", "--launcher=debug"])
    assert not asides(tmp_path) and len(list(tmp_path.glob("bc/*/seeds-0/status.json"))) == 2


def test_anew_is_refused_for_runs_in_slurms_queue(tmp_path, monkeypatch):
    spec = RunSpec("bc", "toy-modes", (0,), {}, PROTOCOLS["empty"], str(tmp_path), "toy")
    execute(spec, quiet=True)
    launch = Launch.begin(tmp_path, [spec], "slurm", {})
    launch.about["submitted"] = [0]
    launch.add_array(JobArray("7", 0, 1, 1, "array-0"))
    monkeypatch.setattr(slurm, "queue", lambda: {"7": "PENDING"})
    RunDirectory(spec.path).set_status(state="interrupted")
    with pytest.raises(UserError, match="1 runs are queued or running: --cancel them before --anew"):
        front_door.submit(tmp_path, [spec], [spec], front_door.How("slurm"), anew=True)
    assert not asides(tmp_path)
    submitted = []
    monkeypatch.setattr(slurm, "queue", dict)
    monkeypatch.setattr(slurm, "ended", lambda jobs: {})
    monkeypatch.setattr(slurm, "limits", lambda options: slurm.Limits())
    monkeypatch.setattr(slurm, "submit", lambda launch, runs, *rest, **more: submitted.extend(runs))
    RunDirectory(spec.path).set_status(state="done")
    front_door.submit(tmp_path, [spec], [spec], front_door.How("slurm"), anew=True)
    assert submitted == [spec] and asides(tmp_path) == [".seeds-0-before"]


def test_anew_begins_the_groups_that_have_the_seeds_again(tmp_path):
    asked = ["--agent=bc", "--task=toy-modes", "--protocol=empty", f"--out={tmp_path}"]
    train.main([*asked, "--seeds=0-1"])
    train.main([*asked, "--seeds=0-3"])
    assert not asides(tmp_path)
    train.main([*asked, "--seeds=0-3", "--anew"])
    assert asides(tmp_path) == [".seeds-0-1-before", ".seeds-2-3-before"]
    asked = ["--suite=toy", "--agents=bc", "--tasks=toy-modes", "--protocol=empty", "--launcher=debug"]
    asked += ["--seeds=0-3", f"--out={tmp_path / 'suite'}"]
    run_all.main([*asked, "--seeds-per-process=2"])
    run_all.main([*asked, "--seeds-per-process=4", "--anew"])
    assert asides(tmp_path / "suite") == [".seeds-0-1-before", ".seeds-2-3-before"]


@pytest.mark.slow
def test_a_sweep_of_a_file_that_changed_is_refused_and_begun_anew_when_asked(spec, edit, tmp_path):
    arguments = [f"--agent={spec.agent}", "--suite=toy", "--domains=toy-modes", "--steps=20", "--eval-episodes=4"]
    arguments += ["--set=hidden=8", "--set=batch_size=8", "--sweep=learning_rate=1e-3", f"--out={tmp_path / 'sweep'}"]
    assert sweep.main(arguments) == 0
    edit("helper_of_test_own_code.py", "CONSTANT = 2\n")
    with pytest.raises(UserError, match=r"helper_of_test_own_code.py was sha256 .*--anew"):
        sweep.main(arguments)
    assert sweep.main([*arguments, "--anew"]) == 0
    (run,) = load_runs(tmp_path / "sweep" / "tuning").runs.itertuples()
    assert run.state == "done" and run.files == own_digests(spec.agent)


def test_a_run_that_has_kept_nothing_takes_the_mended_file(spec, edit, monkeypatch):
    def fail(run, quiet):
        raise ValueError("a mistake in the algorithm")

    with monkeypatch.context() as patch, pytest.raises(ValueError):
        patch.setattr(worker, "train_run", fail)
        execute(spec, quiet=True)
    edit("mine_of_test_own_code.py", AGENT + "# mended\n")
    execute(spec, quiet=True)
    assert read_json(spec.path / "config.json")["code"] == own_digests(spec.agent)
    assert (spec.path / "code" / "mine_of_test_own_code.py").read_text().endswith("# mended\n")


def test_built_in_agents_have_no_files_of_their_own():
    assert own_digests("rql") == {}
    spec = RunSpec("bc", "toy-modes", (0,), {}, PROTOCOLS["empty"], "x", "toy")
    assert "code" not in Run(spec).config


def test_imports_are_found_wherever_they_stand_and_nothing_else(tmp_path):
    (tmp_path / "package" / "deep").mkdir(parents=True)
    texts = {
        "main.py": "import numpy\nfrom package.deep import leaf\nif 0:\n    import lazy\n",
        "lazy.py": "import main\nthis is not Python",
        "unused.py": "",
        "package/__init__.py": "",
        "package/deep/__init__.py": "from ..other import thing\n",
        "package/deep/leaf.py": "",
        "package/other.py": "",
        "package/unused.py": "",
    }
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    found = {str(path.relative_to(tmp_path)) for path in imported_files(tmp_path / "main.py", tmp_path)}
    assert found == {name for name in texts if "unused" not in name}


def test_the_digest_of_built_in_code_changes_with_what_determines_the_numbers_and_with_nothing_else(
    tmp_path, monkeypatch
):
    for folder in ("agents", "benchmark", "envs"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__", "tuned"))

    def digest(agent):
        code_digest.cache_clear()
        with monkeypatch.context() as patch:
            patch.setattr(code_module, "ROOT", tmp_path)
            return code_digest(agent)

    first = digest("rql")
    assert first == digest("rql") != digest("fql") and len(first) == 64
    for name in ("agents/bam.py", "benchmark/launching/status.py", "envs/download.py"):
        (tmp_path / name).write_text((tmp_path / name).read_text() + "# other\n")
        assert digest("rql") == first, name
    for name in ("agents/rql.py", "agents/flow.py", "agents/base.py", *LOOP):
        (tmp_path / name).write_text((tmp_path / name).read_text() + "# other\n")
        assert digest("rql") != first, name
        first = digest("rql")
    code_digest.cache_clear()


def test_a_finished_run_of_a_built_in_agent_made_by_other_code_is_done_and_said(tmp_path, capsys):
    spec = RunSpec("bc", "toy-modes", (0,), {}, PROTOCOLS["empty"], str(tmp_path), "toy")
    execute(spec, quiet=True)
    path = spec.path
    starts = read_json(path / "provenance.json")["starts"]
    write_json(path / "provenance.json", {"starts": [starts[0] | {"commit": "c" * 40, "code": "a" * 64}]})
    RunDirectory(path).set_status(code=[starts[0]["code"]])
    execute(spec)
    assert "made by" not in capsys.readouterr().out
    RunDirectory(path).set_status(code=["a" * 64])
    execute(spec)
    assert "is finished already (made by other code, commit cccccccccccc)" in capsys.readouterr().out
    asked = ["--suite=toy", "--agents=bc", "--tasks=toy-modes", "--seeds=0", "--protocol=empty", f"--out={tmp_path}"]
    write_json(path / "config.json", Run(dataclasses.replace(spec, settings=bc_settings(tmp_path))).config)
    assert run_all.main([*asked, "--dry-run"]) == 0
    assert "1 finished runs were made by other code, commit cccccccccccc; --anew" in capsys.readouterr().out


def bc_settings(out):
    """Those of the toy suite."""
    suite, tasks = get_suite("toy"), [get_task("toy-modes")]
    (run,) = plan(suite, agents=["bc"], tasks=tasks, seeds=(0,), protocol=PROTOCOLS["empty"], out=str(out))
    return dict(run.settings)


def test_runs_of_other_files_of_an_agent_are_other_experiments(tmp_path):
    for name, digest in (("a", "1" * 64), ("b", "2" * 64)):
        path = write_run(tmp_path / name, "mine")
        write_json(path / "config.json", read_json(path / "config.json") | {"code": {"mine.py": digest}})
    selection = comparable(load_runs(tmp_path))
    assert len(set(selection.evaluations["agent"])) == 2
    assert "they differ in the file mine.py" in selection.notes[0]


def test_code_that_changed_within_a_run_or_between_runs_is_in_the_notes(tmp_path):
    for seed, code in ((0, ["a" * 64]), (1, ["a" * 64, "b" * 64]), (2, ["b" * 64])):
        path = write_run(tmp_path, "rql", seeds=(seed,))
        write_json(path / "status.json", read_json(path / "status.json") | {"code": code})
    runs = load_runs(tmp_path)
    assert sorted(runs.runs["code"]) == ["a" * 12, "a" * 12 + "+" + "b" * 12, "b" * 12]
    notes = comparable(runs).notes
    assert any(note.startswith("Begun by one code and continued by another") and "seeds-1-1" in note for note in notes)
    assert any(note.startswith("Runs of rql by different code stand side by side: 3 (") for note in notes)


def test_a_run_whose_file_changed_between_plan_and_start_is_refused_and_taken_when_it_is_launched_again(
    spec, edit, tmp_path, capsys
):
    (planned,) = plan(
        get_suite("toy"),
        agents=[spec.agent],
        tasks=[get_task("toy-modes")],
        seeds=(0,),
        protocol=PROTOCOLS["empty"],
        out=spec.out,
    )
    sent = RunSpec.from_json(planned.to_json())
    assert sent.code == own_digests(spec.agent)
    Launch.begin(
        Path(spec.out), [planned], "debug", dataclasses.asdict(front_door.How("debug")) | {"launcher": "debug"}
    )
    edit("mine_of_test_own_code.py", AGENT + "# the next idea\n")
    with pytest.raises(UserError, match=r"mine_of_test_own_code\.py of .* changed after this run was planned"):
        execute(sent, quiet=True)
    assert not spec.path.exists()
    record_death(sent, "the file changed")
    assert run_all.main(["--retry-failed", f"--out={spec.out}", "--launcher=debug"]) == 0
    assert read_json(spec.path / "config.json")["code"] == own_digests(spec.agent)
