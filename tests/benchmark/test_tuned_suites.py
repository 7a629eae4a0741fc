"""Settings of single agents in a suite of its own scale stand beside their tuned values, and win over the suite's."""

import yaml

from agents.roster import PAPER_AGENTS
from benchmark.planning.plan import choose
from benchmark.planning.registry import agent_class
from benchmark.planning.suites import get_suite
from benchmark.planning.tuned import TUNED, suite_settings
from envs.tasks import get_task


def test_every_algorithm_has_its_toy_settings_and_their_source_beside_its_tuned_values():
    for name in PAPER_AGENTS:
        toy = yaml.safe_load((TUNED / f"{name}.yaml").read_text())["suites"]["toy"]
        assert toy["source"] and suite_settings(agent_class(name), "toy") == toy["settings"], name
    assert suite_settings(agent_class("bc"), "toy") == {}


def test_they_win_over_what_the_suite_gives_all_agents():
    chosen, origins = choose(agent_class("rql"), get_task("toy-modes"), {"alpha": "7"}, get_suite("toy"))
    assert chosen["learning_rate"] == 0.004 and chosen["hidden"] == (64, 64) and chosen["alpha"] == 7
    assert (origins["learning_rate"], origins["alpha"]) == ("suite", "set")


def test_an_agent_of_ones_own_may_have_them_beside_its_file_or_in_its_class(tmp_path):
    file = tmp_path / "mine_beside.py"
    file.write_text(
        "from agents.bc import BC\nclass Mine(BC):\n    name = 'mine_beside'\n"
        "    suite_settings = {'toy': {'batch_size': 3}}\n"
    )
    cls = agent_class(str(file))
    assert suite_settings(cls, "toy") == {"batch_size": 3}
    other = tmp_path / "mine_besides.py"
    other.write_text(file.read_text().replace("mine_beside", "mine_besides"))
    other.with_suffix(".yaml").write_text("domains: {}\nsuites: {toy: {source: mine, settings: {batch_size: 5}}}\n")
    assert suite_settings(agent_class(str(other)), "toy") == {"batch_size": 5}
