"""What cannot be is refused by what is possible, at once; what is given twice or leads to nothing is refused too."""

import time

import pytest

import run_all
from analysis import figures, report
from benchmark import check, sweep, throughput, train
from benchmark.common.errors import UserError
from benchmark.common.options import folder, input_file, names, output_file, whole_number
from benchmark.planning.configure import configure
from benchmark.planning.memory import check_memory, machine_memory
from benchmark.planning.registry import agent_class
from benchmark.runs.seeds import MOST_SEEDS, parse_seeds
from tests.helpers.simulated_runs import write_run

CUBE = "cube-single-play-singletask-task1-v0"


def refused(main, arguments: list[str], message: str) -> None:
    """A command refuses its options with that message, and at once."""
    started = time.perf_counter()
    with pytest.raises(UserError, match=message):
        main(arguments)
    assert time.perf_counter() - started < 3


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--agents=bc,rql,bc"], "--agents names 'bc' twice"),
        (["--agents=bc,,rql"], "--agents has an empty name"),
        ([f"--tasks={CUBE},{CUBE}"], f"--tasks names '{CUBE}' twice"),
        (["--domains=cube-single-play,cube-single-play"], "--domains names 'cube-single-play' twice"),
        (["--seeds=0,1,0-3"], "name a seed twice"),
        (["--seeds=0-999999999"], "are 1,000,000,000 seeds; at most 10,000"),
        (["--seeds=4294967296"], "from 0 to 4294967295"),
        (["--seeds=" + ",".join(map(str, range(0, 400, 2)))], "folder would have a name of"),
        (["--jobs=1000000000"], "--jobs must be a whole number of at most 1,000"),
        (["--eval-episodes=1e30"], "--eval-episodes must be a whole number of at most"),
        (["--online-steps=1e4", "--online-start=10_001"], "nothing would be learned online"),
        (["--online-steps=4_000"], "first update is after --online-start 5,000 of --online-steps 4,000"),
        (["--set=hidden=1000000000,1000000000"], "need at least [0-9,]+ GB; this machine has"),
        (["--set=learning_rate=1e30"], "learning_rate must be at most 1,000,000,000,000,000,000"),
        (["--set=flow_steps=999999"], "flow_steps must be from 1 to 1000"),
        (["--protocol=empty", "--steps=5"], "--steps: protocol 'empty' trains nothing"),
    ],
)
def test_what_cannot_be_planned_is_refused_before_a_folder_is_made(arguments, message, tmp_path):
    refused(run_all.main, ["--suite=quickstart", *arguments, f"--out={tmp_path / 'out'}"], message)
    assert not (tmp_path / "out").exists()


def test_a_plan_has_a_limit_on_all_its_runs_together():
    refused(
        run_all.main, ["--suite=ogbench", "--seeds=0-9999", "--seeds-per-process=1"], "10,000,000 seeds of all agents"
    )


def test_two_files_whose_agents_have_one_name_are_refused(tmp_path):
    for place in ("one", "two"):
        (tmp_path / place).mkdir()
        (tmp_path / place / "mine.py").write_text('from agents.bc import BC\nclass A(BC):\n    name = "twice_there"\n')
    files = f"{tmp_path}/one/mine.py,{tmp_path}/two/mine.py"
    refused(run_all.main, ["--suite=toy", f"--agents={files}", "--dry-run"], "are both called 'twice_there'")


@pytest.mark.parametrize(
    "task, message",
    [
        ("toy-modes", "'toy-modes' cannot be generated, it is made in code"),
        ("pen-human-v1", "'pen-human-v1' cannot be generated, it has a published file"),
        ("humanoidmaze-large-navigate-singletask-task1-v0", "'humanoidmaze-large-navigate' cannot be generated"),
    ],
)
def test_data_that_cannot_be_generated_is_refused_before_the_run(task, message):
    refused(train.parse, ["--agent=bc", f"--task={task}", "--generate=1000"], message)


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--sweep=alpha=1,2,3,4", "--budget=3"], "--budget 3 is below the 4 settings"),
        (["--sweep=alpha=1,2", "--protocol=empty"], "'empty' trains nothing"),
        (["--sweep=alpha=1,2", "--domains=toy-modes", "--generate=1000"], "made in code"),
        (["--sweep=alpha=1,2", "--domains=scene-play,scene-play"], "--domains names 'scene-play' twice"),
        (
            [f"--sweep={name}={','.join(map(str, range(1, 200)))}" for name in ("alpha", "learning_rate")],
            "need at least",
        ),
    ],
)
def test_a_sweep_that_cannot_be_is_refused(arguments, message, tmp_path):
    refused(sweep.main, ["--agent=rql", *arguments, "--set=hidden=512,512", f"--out={tmp_path / 'out'}"], message)
    assert not (tmp_path / "out").exists()


def test_duplicates_are_refused_by_the_other_commands_too():
    refused(check.main, ["bc", "bc"], "AGENT names 'bc' twice")
    refused(check.main, ["bc", "--only=shapes,shapes"], "--only names 'shapes' twice")
    refused(check.main, ["bc", "--set=alfa=1"], "no hyperparameter 'alfa'")
    refused(throughput.main, ["--agents=bc", "--seeds=1,1"], "--seeds names '1' twice")
    refused(
        throughput.main, ["--agents=bc", "--seeds=10000", "--size", "hidden=4096,4096"], "10,000 that train together"
    )


def test_an_unknown_agent_to_highlight_is_named_before_anything_is_written(tmp_path):
    write_run(tmp_path / "runs", agent="rql")
    for command in (figures, report):
        given = [f"--runs={tmp_path / 'runs'}", f"--out={tmp_path / 'new'}", "--highlight=rqll"]
        given += ["--no-figures"] if command is report else []
        refused(command.main, given, "unknown agent to highlight 'rqll' .did you mean 'rql'")
    assert not (tmp_path / "new").exists()


def test_networks_are_held_against_the_memory_of_this_machine():
    cls = agent_class("rql")
    paper = configure(cls, {})
    check_memory("rql", paper, 12)
    with pytest.raises(UserError, match=r"rql: hidden 512,512,512,512, ensemble 10.* that train together"):
        check_memory("rql", paper, machine_memory() // 10**7)
    with pytest.raises(UserError, match="batch_size 2147483647"):
        configure(cls, {"batch_size": 2**31 - 1})


def test_seeds_have_limits_that_do_not_take_time():
    started = time.perf_counter()
    for text in ("0-999999999", "0-99999999999999999999", "5-4294967295"):
        with pytest.raises(UserError, match="seeds"):
            parse_seeds(text)
    assert time.perf_counter() - started < 0.1
    assert parse_seeds("4294967295") == (2**32 - 1,) and len(parse_seeds(f"0-{MOST_SEEDS - 1}")) == MOST_SEEDS


def test_numbers_and_names_are_read_alike_everywhere():
    assert [whole_number("n", text) for text in ("1", "1e6", "1_000", " 5 ")] == [1, 1_000_000, 1000, 5]
    for text in ("1e30", "inf", "2147483648"):
        with pytest.raises(UserError, match="n must be a whole number of at most 2,147,483,647"):
            whole_number("n", text)
    assert names("n", "my_agent (beta=10, alpha=3), fql") == ["my_agent (beta=10, alpha=3)", "fql"]


def test_files_and_folders_are_looked_at_before_they_are_used(tmp_path):
    (tmp_path / "file").write_text("")
    assert folder("--out", tmp_path / "new" / "deeper") == tmp_path / "new" / "deeper"
    assert input_file("--rates", tmp_path / "file") == output_file("--out", tmp_path / "file") == tmp_path / "file"
    for checked, path in ((folder, "file"), (folder, "file/x"), (output_file, "."), (output_file, "file/x")):
        with pytest.raises(UserError, match="is not a f"):
            checked("--out", tmp_path / path)
    for path in (".", "absent", "y" * 300, "/dev/zero"):
        with pytest.raises(UserError, match="--rates: "):
            input_file("--rates", tmp_path / path)
    assert not (tmp_path / "new").exists()
