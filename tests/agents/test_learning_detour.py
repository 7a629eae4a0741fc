"""Every algorithm carries value back through the multi-step toy task, whose goal cloning does not find."""

import pytest

from agents.roster import NEWER_AGENTS, PAPER_AGENTS
from tests.helpers.toy_runs import score

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("full_optimization")]

SOLVED = 0.7
"""Success that an algorithm reaches, of 1 for the optimum and 0 for cloning. Seen: 0.99 to 1.00, mean of two seeds."""

WEAK = {"fawac": 0.1, "cgql_m": 0.4, "qsm": 0.5}
"""What the weaker algorithms reach. fawac only reweights the data's actions, of which few lead round the wall: 0.33 to
0.80 a seed. With the other two now and then a seed ends between: 0.62 (cgql_m) and 0.75 (qsm) were the lowest of four.
"""


def test_cloning_does_not_find_the_goal(tmp_path):
    assert score("bc", "toy-detour", tmp_path) <= 0.02


@pytest.mark.parametrize("agent", PAPER_AGENTS + NEWER_AGENTS)
def test_every_algorithm_finds_the_goal(agent, tmp_path):
    assert score(agent, "toy-detour", tmp_path) > WEAK.get(agent, SOLVED)
