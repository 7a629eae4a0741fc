"""Names and strings become agents and configurations; every mistake is named, with what is allowed."""

import subprocess
import sys
from pathlib import Path

import pytest

import agents
from agents.roster import NEWER_AGENTS, PAPER_AGENTS, ROSTER, file_of, first_line, module_of
from agents.rql import RQL
from benchmark.common.errors import UserError
from benchmark.common.options import whole_number
from benchmark.planning.configure import configure, describe, parse_settings
from benchmark.planning.plan import settings_for
from benchmark.planning.registry import agent_class, agent_names
from benchmark.planning.suites import SUITES
from benchmark.planning.tuned import read_tuned, tuned, tuned_with_origin
from benchmark.runs.seeds import format_seeds, parse_seeds
from envs.tasks import OGBENCH_DOMAINS, TASKS, get_task, tasks_of

MY_AGENT = '''"""Mine."""
from dataclasses import dataclass
from agents.base import option
from agents.bc import BC, BCConfig

@dataclass(frozen=True)
class MyConfig(BCConfig):
    """Mine."""
    bonus: float = option(0.5, "a number of my own", low=0)

class Mine(BC):
    """Mine."""
    name = "mine"
    Config = MyConfig
'''


def test_all_twenty_algorithms_and_the_floor_are_there():
    assert {*PAPER_AGENTS, *NEWER_AGENTS, "bc"} == set(agent_names())
    assert len(PAPER_AGENTS) == 20 and not set(PAPER_AGENTS) & set(NEWER_AGENTS)
    assert SUITES["ogbench"].agents == PAPER_AGENTS


def test_the_fifty_tasks_are_those_of_the_paper():
    tasks = tasks_of(*OGBENCH_DOMAINS)
    assert len(tasks) == len({task.name for task in tasks}) == 50
    task = get_task("humanoidmaze-large-navigate-singletask-task3-v0")
    assert (task.domain.discount, task.domain.pessimism, task.domain.chunk_length) == (0.995, 0.0, 1)
    assert get_task("puzzle-4x4-play-singletask-task1-v0").dataset == "puzzle-4x4-play-100m-v0"


@pytest.mark.parametrize("domain", [d.name for d in OGBENCH_DOMAINS])
@pytest.mark.parametrize("agent", PAPER_AGENTS + NEWER_AGENTS)
def test_every_algorithm_is_tuned_on_every_domain_with_hyperparameters_it_has(agent, domain):
    assert tuned(agent, domain)
    configure(agent_class(agent), settings_for(agent_class(agent), TASKS[f"{domain}-singletask-task1-v0"]))


def test_strings_become_the_type_of_the_field():
    config = configure(RQL, {"alpha": "10", "hidden": "64,32", "ensemble": "2"}, {"expectile": 0.7})
    assert (config.alpha, config.hidden, config.ensemble, config.expectile) == (10.0, (64, 32), 2, 0.7)
    assert describe(config)["hidden"] == [64, 32]


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"alfa": 1}, r"no hyperparameter 'alfa' \(did you mean 'alpha'\?\)"),
        ({"alpha": "much"}, "alpha must be a number, not 'much'"),
        ({"alpha": "nan"}, "alpha must be a number"),
        ({"alpha": "inf"}, "alpha must be a number"),
        ({"alpha": True}, "alpha must be a number"),
        ({"alpha": -1}, "alpha must be at least 0, not -1"),
        ({"expectile": 1.5}, "expectile must be from 0 to 1, not 1.5"),
        ({"ensemble": 2.5}, "ensemble must be a whole number, not '2.5'"),
        ({"ensemble": 0}, "ensemble must be at least 1"),
        ({"hidden": "512,wide"}, "hidden must be whole numbers separated by commas"),
        ({"hidden": "512,0"}, "hidden must be at least 1"),
    ],
)
def test_a_wrong_hyperparameter_is_named(settings, message):
    with pytest.raises(UserError, match=message):
        configure(RQL, settings)


@pytest.mark.parametrize("text, seeds", [("0", (0,)), ("0-3", (0, 1, 2, 3)), ("7,0-1", (0, 1, 7))])
def test_seeds_parse(text, seeds):
    assert parse_seeds(text) == seeds
    assert parse_seeds(format_seeds(seeds)) == seeds


@pytest.mark.parametrize("text", ["", "a", "1-", "3-1", "1,1", "-1", "0-4294967296", "1.5"])
def test_seeds_that_do_not_parse_are_named(text):
    if text == "0-4294967296":
        text = "4294967296"
    with pytest.raises(UserError, match="seeds"):
        parse_seeds(text)


@pytest.mark.parametrize("text", ["", "alpha", "=3", "alpha="])
def test_settings_that_do_not_parse_are_named(text):
    with pytest.raises(UserError, match="is not a setting"):
        parse_settings([text])


@pytest.mark.parametrize("text", ["0", "-3", "many", "1.5", "inf"])
def test_whole_numbers_are_checked(text):
    with pytest.raises(UserError, match="--steps must be a whole number"):
        whole_number("--steps", text)


def test_unknown_names_are_answered_with_the_nearest():
    with pytest.raises(UserError, match="did you mean 'rql'"):
        agent_class("rlq")
    with pytest.raises(UserError, match="did you mean 'cube-double-play-singletask-task1-v0'"):
        get_task("cube-duble-play-singletask-task1-v0")


def test_an_agent_in_a_file_of_ones_own(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(MY_AGENT)
    cls = agent_class(str(path))
    assert cls.name == "mine"
    assert cls is agent_class(str(path)), "the file is imported once"
    assert configure(cls, {"bonus": "2"}).bonus == 2.0
    assert "mine" not in agent_names()


@pytest.mark.parametrize(
    "text, message",
    [
        ("import nothing_of_that_name", "does not import: ModuleNotFoundError"),
        ("x = 1", "exactly one subclass of Agent with a name; found: none"),
        (MY_AGENT.replace('"mine"', '"rql"'), "takes the name of a built-in agent: rql"),
    ],
)
def test_an_agent_file_that_is_wrong_is_named(tmp_path, text, message):
    path = tmp_path / f"wrong{abs(hash(text))}.py"
    path.write_text(text)
    with pytest.raises(UserError, match=message):
        agent_class(str(path))
    assert agent_class("rql") is RQL


def test_a_missing_agent_file_is_named():
    with pytest.raises(UserError, match="no agent file"):
        agent_class("nowhere/agent.py")


def test_the_roster_names_each_algorithm_where_it_is():
    folder = Path(agents.__file__).parent
    named = {name for name in ROSTER if f'name = "{name}"' in file_of(name).read_text()}
    assert named == set(ROSTER)
    assert {path.stem for path in folder.glob("*.py") if "\n    name = " in path.read_text()} == {
        file_of(name).stem for name in ROSTER
    }
    for name in ROSTER:
        cls = agent_class(name)
        assert (cls.name, cls.__module__) == (name, module_of(name))
        assert first_line(name) == sys.modules[cls.__module__].__doc__.partition("\n")[0]


def test_a_setting_that_is_given_twice_is_refused_with_both_values():
    with pytest.raises(UserError, match="'alpha' is set twice, to 1 and to 2"):
        parse_settings(["alpha=1", "alpha=2"])


def test_a_failing_agent_file_leaves_the_built_in_agent_that_it_imports(tmp_path):
    """In a process of its own, in which the file is the first to import the algorithm."""
    broken, thief = tmp_path / "broken.py", tmp_path / "thief.py"
    broken.write_text("from agents.fql import FQL\nraise ValueError\n")
    thief.write_text("from agents.ifql import IFQL\n\n\nclass Mine(IFQL):\n    name = 'ifql'\n")
    code = (
        "import sys\nfrom benchmark.planning.registry import agent_class\n"
        "for name in sys.argv[1:]:\n    try:\n        print(agent_class(name).__module__)\n"
        "    except Exception as error:\n        print(type(error).__name__)\n"
    )
    asked = [str(broken), "fql", str(thief), "ifql"]
    done = subprocess.run([sys.executable, "-c", code, *asked], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["UserError", "agents.fql", "UserError", "agents.ifql"]


def test_an_own_agent_is_not_given_the_published_values_of_a_built_in_one_whose_file_has_the_same_name(tmp_path):
    (tmp_path / "fql.py").write_text(MY_AGENT.replace('"mine"', '"mine_of_test_configure"'))
    cls = agent_class(str(tmp_path / "fql.py"))
    assert tuned_with_origin(cls.name, "antmaze-large-play-v2") == ({}, "")
    assert tuned_with_origin("fql", "antmaze-large-play-v2")[1].startswith("published")


@pytest.mark.parametrize(
    "text", ["domains: [", "- a\n", "domains: 3\n", "domains: {scene-play: 3}\n", "suites: {toy: {}}\n", "\xff"]
)
def test_a_file_of_tuned_values_that_has_another_form_is_named(tmp_path, text):
    path = tmp_path / "mine.yaml"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(UserError, match=str(path)) as caught:
        read_tuned(path)
    assert "\n" not in str(caught.value)
