"""The toy tasks have the answers that they claim, and data that does not give them away."""

import numpy as np
import pytest

from benchmark.loop.worker import execute
from benchmark.planning.plan import plan
from benchmark.planning.protocols import get_protocol
from benchmark.planning.run import Run
from benchmark.planning.suites import get_suite
from envs.family import family_of
from envs.play.pool import NotFinite
from envs.tasks import TOY_TASKS, get_task
from envs.toy.tasks import TOYS, Detour, Modes, turn
from envs.toy.world import ToyWorld

MODES, DETOUR = Modes(), Detour()


def play(task, policy, episodes=100, seeds=(0,)):
    """Episodes of a policy (states (N, O), rng) -> actions (N, H, d) of the first seed."""
    rng = np.random.default_rng(0)

    def of_states(observations, ids):
        chunks = policy(observations.reshape(-1, observations.shape[-1]), rng)
        return chunks.reshape(*observations.shape[:2], *chunks.shape[1:])

    return ToyWorld(get_task(task)).evaluate(of_states, seeds, episodes, 0, [True] * len(seeds))[0]


# -------------------------------------------------------------------------------------------------- toy-modes


def test_the_behaviours_score_on_modes_is_its_closed_form():
    result = play("toy-modes", lambda s, rng: MODES.behaviour(s, rng)[:, None], episodes=40_000)
    assert result.success.mean() == pytest.approx(MODES.cloning_score(), abs=0.005)
    rewards = ToyWorld(get_task("toy-modes")).data.rewards
    assert rewards.mean() / MODES.height == pytest.approx(MODES.cloning_score(), abs=0.015)


def test_no_action_on_modes_scores_better_than_the_best_modes_centre():
    best = play("toy-modes", lambda s, rng: turn(s, MODES.centres[:1])[:, None])
    np.testing.assert_allclose(best.success, 1, atol=1e-6)
    np.testing.assert_array_equal(best.lengths, 1)
    grid = np.stack(np.meshgrid(*[np.linspace(-1, 1, 41)] * 2), axis=-1).reshape(-1, 2)
    assert MODES.step(np.tile([1.0, 0.0], (len(grid), 1)), grid)[2].max() <= 1


def test_the_best_mode_alone_scores_its_closed_form():
    def policy(s, rng):
        return (turn(s, MODES.centres[:1]) + MODES.spread * rng.standard_normal(s.shape))[:, None]

    assert play("toy-modes", policy, episodes=20_000).success.mean() == pytest.approx(
        MODES.best_mode_score(), abs=0.002
    )


def test_the_mean_of_the_modes_is_far_from_the_optimum():
    mean = MODES.probabilities @ MODES.centres
    assert play("toy-modes", lambda s, rng: turn(s, mean[None])[:, None]).success.mean() < 0.5


@pytest.mark.parametrize("task", ["toy-modes", "toy-detour"])
def test_actions_are_carried_out_as_in_a_simulator_clipped_and_finite_or_not_at_all(task):
    def always(*action):
        return play(task, lambda states, rng: np.full((len(states), 1, 2), action), episodes=3)

    for far, near in (((5.0, 5.0), (1.0, 1.0)), ((-0.3, -7.0), (-0.3, -1.0))):
        np.testing.assert_array_equal(always(*far).returns, always(*near).returns)
    with pytest.raises(NotFinite, match=rf"{task}: the policy of run seed 0 .* step 0, episode 0, chunk 0") as raised:
        always(0.0, np.nan)
    assert raised.value.runs == (0,)


def test_only_what_is_carried_out_must_be_finite():
    def of_seed_one(observations, ids):
        return np.where(ids[..., 0] == 1, np.nan, 0.0)[..., None, None] * np.ones((1, 2))

    world = ToyWorld(get_task("toy-detour"))
    whole = world.evaluate(lambda observations, ids: np.zeros((*ids.shape[:2], 1, 2)), (0, 1), 3, 0, [True, True])
    results = world.evaluate(of_seed_one, (0, 1), 3, 0, [True, False])
    np.testing.assert_array_equal(results[0].returns, whole[0].returns)
    assert results[1] is None
    with pytest.raises(NotFinite) as raised:
        world.evaluate(of_seed_one, (0, 1), 3, 0, [True, True])
    assert raised.value.runs == (1,)


# ------------------------------------------------------------------------------------------------- toy-detour


def straight_to(aim, states):
    """Chunks of two full steps in the direction of points (N, 2)."""
    way = aim - states
    return np.repeat((way / np.linalg.norm(way, axis=-1, keepdims=True))[:, None], 2, axis=1)


def around_the_wall(states, rng):
    """To the wall's near corner, along its end, to the goal; a little below the corners, which chunks overshoot."""
    half, low = DETOUR.wall - [0.0, 0.02]
    x = states[:, :1]
    aim = np.where(x < -half, [-half + 0.01, low], np.where(x < half, [half + 0.01, low], DETOUR.goal))
    return straight_to(aim, states)


def test_actions_after_an_episodes_end_count_for_nothing_whatever_they_are():
    def lost_at_the_goal(states, rng):
        return np.where(DETOUR.at_goal(states)[:, None, None], np.nan, around_the_wall(states, rng))

    whole, found = (play("toy-detour", policy) for policy in (around_the_wall, lost_at_the_goal))
    assert len(np.unique((whole.lengths + 1) // 2)) > 1, "some end in a chunk before others"
    np.testing.assert_array_equal(found.returns, whole.returns)
    np.testing.assert_array_equal(found.success, whole.success)


def test_going_round_the_wall_takes_the_optimal_number_of_steps():
    result = play("toy-detour", around_the_wall)
    assert result.success.mean() == 1
    assert DETOUR.optimal_steps() == 44
    assert DETOUR.optimal_steps() - 1 <= result.lengths.mean() <= DETOUR.optimal_steps() + 3
    np.testing.assert_array_equal(result.returns, 1 - result.lengths)


def test_going_straight_to_the_goal_ends_at_the_wall():
    result = play("toy-detour", lambda s, rng: straight_to(DETOUR.goal, s))
    assert result.success.mean() == 0
    np.testing.assert_array_equal(result.lengths, get_task("toy-detour").domain.episode_limit)


def test_the_behaviour_of_the_detour_does_not_reach_the_goal():
    rng = np.random.default_rng(0)
    states = DETOUR.start([rng] * 2000)
    states, _, following = DETOUR.walk(states, get_task("toy-detour").domain.episode_limit, rng)
    assert DETOUR.at_goal(following.reshape(-1, 2)).reshape(2000, -1).any(axis=1).mean() < 0.01


def test_no_walk_of_the_data_leads_from_start_to_goal():
    made = DETOUR.rows(np.random.default_rng(0))
    last = np.flatnonzero(made["terminals"])
    lengths = np.diff(last, prepend=-1)
    assert lengths.min() < lengths.max() <= 40 < DETOUR.optimal_steps()
    np.testing.assert_array_equal(made["masks"] == 0, DETOUR.at_goal(made["observations"]))
    np.testing.assert_array_equal(made["rewards"] == 0, made["masks"] == 0)
    assert 0.01 < (made["masks"] == 0).mean() < 0.05
    assert not DETOUR.in_wall(made["observations"]).any()


def test_nothing_passes_through_the_wall_or_out_of_the_room():
    rng = np.random.default_rng(0)
    states = DETOUR.anywhere(500, rng)
    for _ in range(50):
        following = DETOUR.step(states, rng.uniform(-1, 1, states.shape))[0]
        assert np.abs(following).max() <= 1 and not DETOUR.in_wall(following).any()
        assert np.linalg.norm(following - states, axis=-1).max() <= DETOUR.reach + 1e-12
        states = following


# ------------------------------------------------------------------------------------------------------ world


@pytest.mark.parametrize("task", TOYS)
def test_data_is_a_function_of_the_seed(task):
    same, again, other = (ToyWorld(get_task(task), seed).source["fingerprint"] for seed in (0, 0, 1))
    assert same == again != other


@pytest.mark.parametrize("task", TOYS)
def test_trajectories_have_unequal_lengths_and_actions_fill_the_box(task):
    data = ToyWorld(get_task(task)).data
    lengths = np.asarray(data.last - data.first + 1)
    assert len(np.unique(lengths)) > 20
    assert 0.9 < np.abs(data.actions).max() < 1


def test_an_episode_is_the_same_whatever_is_played_beside_it():
    def policy(states, rng):
        return np.stack([np.sin(50 * states), np.cos(50 * states)], axis=1)

    world = ToyWorld(get_task("toy-detour"))

    def returns(seeds, episodes, step=5):
        def chunks(observations, ids):
            return policy(observations.reshape(-1, 2), None).reshape(*observations.shape[:2], 2, 2)

        return [r.returns for r in world.evaluate(chunks, seeds, episodes, step, [True] * len(seeds))]

    few, many = returns([3], 4), returns([1, 3], 9)
    np.testing.assert_array_equal(few[0], many[1][:4])


def test_the_policy_is_told_which_chunk_it_is_asked_for_and_inactive_seeds_have_no_result():
    asked = []

    def policy(observations, ids):
        asked.append(ids.copy())
        return np.zeros((2, 3, 2, 2))

    world = ToyWorld(get_task("toy-detour"))
    results = world.evaluate(policy, [4, 7], 3, 100, [True, False])
    assert results[1] is None and results[0].success.tolist() == [0, 0, 0]
    np.testing.assert_array_equal(asked[0][1, 2], [7, 100, 2, 0])
    np.testing.assert_array_equal(asked[9][0, 1], [4, 100, 1, 9])


def test_a_toy_run_needs_no_data_file_and_leaves_the_records_of_any_run(tmp_path):
    suite = get_suite("toy")
    protocol = get_protocol("toy").scaled_to(2)
    runs = plan(suite, agents=["bc"], tasks=suite.tasks, seeds=[0], protocol=protocol, out=str(tmp_path))
    assert [spec.task for spec in runs] == [task.name for task in TOY_TASKS] == list(TOYS)
    for spec in runs:
        assert Run(spec).data_path is None
        execute(spec, quiet=True)
        assert {"config.json", "provenance.json", "eval.csv"} <= {path.name for path in spec.path.iterdir()}
        assert '"source": "toy"' in (spec.path / "provenance.json").read_text()
    assert isinstance(family_of(get_task("toy-modes")).open_world(get_task("toy-modes"), None, 1), ToyWorld)
