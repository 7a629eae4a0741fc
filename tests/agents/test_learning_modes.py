"""Every algorithm beats cloning on the one-step toy task and comes near its optimum, by a stated margin."""

import pytest

from agents.roster import NEWER_AGENTS, PAPER_AGENTS
from envs.toy.tasks import Modes
from tests.helpers.toy_runs import score

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("full_optimization")]

NEAR = 0.8
"""Success that an algorithm reaches, of 1 for the optimum, 0.34 for cloning and 0.44 for the data's mean action."""

WEAK = {"dac": 0.75, "cgql_l": 0.65}
"""What the weaker algorithms reach: seen, 0.84 and 0.80, against 0.87 to 1.00 of the others."""


def test_cloning_scores_what_the_behaviour_does(tmp_path):
    assert score("bc", "toy-modes", tmp_path) == pytest.approx(Modes().cloning_score(), abs=0.07)


@pytest.mark.parametrize("agent", PAPER_AGENTS + NEWER_AGENTS)
def test_every_algorithm_comes_near_the_optimum(agent, tmp_path):
    assert score(agent, "toy-modes", tmp_path) > WEAK.get(agent, NEAR)
