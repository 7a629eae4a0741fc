"""What was measured of evaluation is kept, found again, and counted in the plan."""

import pytest

from benchmark import evaluation_speed as speed
from benchmark.common.errors import UserError
from benchmark.speed import episodes
from envs.tasks import get_domain


def row(domain="cube-double-play", agent="rql", seeds=1, rate=1000.0, device="cpu: x"):
    return dict(device=device, cores=2, agent=agent, domain=domain, seeds=seeds, steps_per_second=rate)


def test_a_new_row_replaces_the_one_of_its_case_and_no_other(tmp_path):
    path = tmp_path / "rows.json"
    episodes.write_rows(path, [row(), row(seeds=4)])
    episodes.write_rows(path, [row(rate=2000.0)])
    assert sorted((r["seeds"], r["steps_per_second"]) for r in episodes.read_rows(path)) == [(1, 2000.0), (4, 1000.0)]


def test_what_was_not_measured_takes_the_slowest_of_its_domain_and_nothing_of_another():
    rows = [row(), row(seeds=4, rate=900.0), row(domain="scene-play", rate=100.0)]
    assert episodes.steps_per_second("rql", "cube-double-play", 1, rows) == 1000
    assert episodes.steps_per_second("fql", "cube-double-play", 12, rows) == 900
    assert episodes.steps_per_second("fql", "antmaze-large-navigate", 1, rows) is None


@pytest.mark.parametrize("arguments", [["--domains=cube-dubble-play"], ["--agent=rqll"], ["--seeds=0"]])
def test_bad_options_are_said_before_any_work(arguments):
    with pytest.raises(UserError):
        speed.main(arguments)


@pytest.mark.slow
def test_both_loops_step_a_real_environment(monkeypatch, tmp_path):
    monkeypatch.setattr(episodes, "evaluation_path", lambda: tmp_path / "rows.json")
    monkeypatch.setattr(episodes, "EPISODE_STEPS", 10)
    (found,) = episodes.measure("bc", [get_domain("cube-single-play")], [2], 4, 0.1, print)
    assert found["environments"] == 8
    assert found["speedup"] == found["steps_per_second"] / found["public_loop_steps_per_second"] > 0
    assert episodes.read_rows(tmp_path / "rows.json") == [found]
