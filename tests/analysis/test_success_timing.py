"""When a step's success is read differs between versions of OGBench, and tables beside published figures say so."""

from importlib.metadata import version

import gymnasium
import ogbench  # noqa: F401  (registers the environments)
import pytest

from analysis.tabulating.with_published import DISAGREEMENTS


@pytest.mark.parametrize("name", ["cube-double-singletask-task2-v0", "antmaze-large-singletask-task1-v0"])
def test_success_is_read_before_the_action_as_the_tables_say(name):
    assert gymnasium.spec(name).kwargs["success_timing"] == "pre"
    (said,) = [note for note in DISAGREEMENTS if "OGBench" in note]
    assert version("ogbench") + ", whose single tasks read success before a step's action" in said
