"""The check of an agent: broken ones fail with the right words, those of the repository pass."""

from pathlib import Path

import jax
import pytest

from benchmark import check
from benchmark.checking.examination import CHECKS, examine
from benchmark.checking.gradients import TRACKING, missed
from benchmark.checking.subject import Subject
from benchmark.common.errors import UserError

BROKEN = Path(__file__).parents[1] / "broken_agents"

# file, the check at which it must fail, and what that must say
CASES = [
    ("does_not_import", "interface", "does not import: ModuleNotFoundError: No module named 'agents.no_such_part'"),
    ("untyped", "interface", "UntypedConfig.temperature has no type"),
    ("lost_attribute", "interface", "self.entropy_target is set in __init__ but lost"),
    ("misnamed_update", "interface", "cycle() names the update 'update_critics', which the agent does not have"),
    ("forgets_chunks", "shapes", "sample_actions gives float32 (8, 5) for 8 observations, not floats (8, 25)"),
    ("squeezed", "shapes", "with chunks of 5 actions and a batch of 1 (line "),
    ("counter", "purity", "state is kept on the side: Counter.updates"),
    ("numpy_noise", "purity", "update is another program each time that it is traced"),
    ("python_if", "purity", "(line 11, in loss: if self.config.alpha > 50:)"),
    ("uncounted", "purity", "it must count one update"),
    ("two_programs", "programs", "vmap over seeds and hyperparameters gives other numbers"),
    ("unclipped", "acting", "act leaves [-1, 1]: "),
    ("outside_random", "acting", "act gives two answers for the same state, observation and rng"),
    ("not_a_number", "domains", "is not finite on antmaze-large-navigate on a batch where no chunk is valid"),
    ("idle_network", "gradients", "the network 'flow' gets no gradient"),
    ("trained_target", "gradients", "update trains the target of 'critic'"),
    ("still_target", "gradients", "the target of 'critic' never moves"),
    ("misnamed_draw", "shapes", "noise has no 'x_0' (did you mean 'x0'?); there is: x0, t (as draws() names them)"),
    ("misnamed_network", "shapes", "has no 'critics' (did you mean 'critic'?); there is: critic, flow, one_step"),
    ("mixed_samples", "pairs", "arrays of shapes (B,) and (B, 1) are broadcast to all pairs of a batch's B samples"),
    ("mixed_samples", "pairs", "write out both axes, x[:, None] - y[None] (line 12, in critic_loss: y = batch.rewards"),
    ("mixed_choice", "pairs", "x[:, None] - y[None] (line 12, in td_target: kept = jnp.where("),
    ("constant_key", "randomness", "update draws from a constant key, not from state.rng: the same numbers each time"),
    ("constant_key", "randomness", "(line 12, in loss: latent = jax.random.normal("),
    ("constant_act", "randomness", "act draws from a constant key, not from act's rng"),
    ("idle_option", "options", "the hyperparameter temperature changes nothing that is learned or done"),
    ("idle_count", "options", "use self.config.candidates where it belongs, or leave it out of IdleCountConfig"),
    (
        "trained_bootstrap",
        "losses",
        "the TD target is trained: gradient flows into 'critic' through what it says at batch",
    ),
    ("trained_bootstrap", "losses", "write target.critic or fixed.critic there, or put jax.lax.stop_gradient round"),
    ("trained_bootstrap_in_turn", "losses", "(line 15, in critic_loss: y = batch.rewards"),
    ("trained_next_action", "losses", "gradient flows into 'one_step' through what it says at batch.next_observations"),
    ("critic_climbs", "losses", "the loss that trains 'flow' trains 'critic' too, which learns from rewards elsewhere"),
    (
        "critic_follows",
        "losses",
        "write fixed.critic (or target.critic) there instead of train.critic (line 12, in value",
    ),
    ("one_step_discount", "losses", "discounts the next value by γ^1, but it is a chunk of 5 actions away"),
    ("one_step_discount", "losses", "write self.td_target(batch, next_value), or self.config.discount ** self.config."),
    (
        "no_discount",
        "losses",
        "does not discount the next value by self.config.discount, but it is a chunk of 5 actions",
    ),
    ("no_discount", "losses", "(line 10, in td_target: return batch.rewards + batch.masks * next_value)"),
    ("no_masks", "losses", "masks do not weigh, though there is none where an episode has ended"),
    ("no_masks", "losses", "(line 10, in td_target: return batch.rewards + self.config.discount"),
    ("no_discount_of_absolute_errors", "losses", "(line 13, in critic_loss: y = batch."),
    ("trained_error", "losses", "the TD target is trained: gradient flows into 'critic' through what it says at batch"),
    ("no_masks_of_error", "losses", "masks do not weigh, though there is none where an episode has ended"),
    ("no_masks_of_error", "losses", "(line 13, in critic_loss: error = batch.rewards - value"),
    ("no_discount_of_error", "losses", "does not discount the next value by self.config.discount"),
    ("no_discount_of_error", "losses", "(line 12, in critic_loss: error = train.critic("),
    ("masks_reversed", "losses", "the next value counts only where masks are 0, that is where an episode has ended"),
    ("masks_reversed", "losses", "(line 10, in td_target: return batch.rewards"),
    ("one_step_discount_chosen", "losses", "loss discounts the next value by γ^1, but it is a chunk of 5 actions away"),
    ("one_step_discount_stopped", "losses", "loss discounts the next value by γ^1, but it is a chunk of 5 actions"),
    ("critic_climbs_beside", "losses", "the loss that trains 'one_step' trains 'critic' too, which learns from"),
    (
        "whole_dataset",
        "shapes",
        "each seed and each checkpoint would have a copy as long as the data; reduce",
    ),
    ("constant_pool", "randomness", "init draws from a constant key, not from init's rng"),
    ("misnamed_input", "interface", "inputs among 'observation action time', which input_sizes() can add to"),
    ("untyped_absence", "interface", "UntypedAbsenceConfig.ensemble has no type"),
    ("crosses_trajectories", "batches", "'rewards', drawn offline, depends on rewards or masks of another trajectory"),
    ("misses_the_end", "batches", "'next_observations', drawn offline, is of another trajectory than 'observations'"),
    ("all_valid", "batches", "'valid' is not 0, drawn offline, where the chunk runs past its trajectory's end"),
    ("untold_steps", "batches", "lies 7 steps after 'observations', but td_target discounts by γ^5: say how many by"),
    ("offline_only", "batches", "'Joined' object has no attribute 'first', drawn online (line 12, in sample: return"),
    ("own_shape", "batches", "the batch's 'reward_scale', drawn offline, has shape (), not (B,)"),
    ("misnamed_optimizer", "interface", "optimizers() names 'critics' (did you mean 'critic'?); the networks are crit"),
    ("frozen_moves", "gradients", "update moves the network 'flow', which its optimiser in optimizers() holds still"),
    (
        "misnamed_acting",
        "interface",
        "acting_options names 'alfa', which the agent does not have (did you mean 'alpha'?)",
    ),
    ("acting_learns", "options", "update depends on alpha, which acting_options says only acting reads"),
    ("extra_and_network", "interface", "init_extra() names 'flow', which is a network"),
    ("loses_extra", "shapes", "update returns a state of another structure than it was given"),
    ("begins_bare", "shapes", "begin(state, 'training') returns a state of another structure than it was given"),
    ("counts_again", "purity", "begin(state, 'online') changes state.step; the count of updates and the key go on"),
    ("unrolled", "speed", "a Python loop is unrolled somewhere, use jax.lax.scan"),
]


def path(name):
    return str(BROKEN / f"{name}.py")


@pytest.mark.parametrize("name, wrong, words", CASES)
def test_a_broken_agent_fails_with_the_right_words(name, wrong, words):
    finding = examine(path(name), checks=[wrong])[-1]
    assert finding.check == wrong and not finding.passed
    assert words in finding.text
    assert "\n" not in finding.text


def test_every_broken_agent_is_tried():
    tried = {name for name, _, _ in CASES} | {"wrong_sign"}
    assert tried == {file.stem for file in BROKEN.glob("*.py")}


@pytest.mark.parametrize("name, uses", [("bc", False), ("fql", True), ("tfql", True)])
def test_whether_rewards_are_used_is_found_also_where_an_update_draws_what_it_teaches(name, uses):
    assert Subject(name).uses_rewards == uses


@pytest.mark.slow
def test_a_good_agent_passes_all_checks_of_correctness():
    checks = [name for name in CHECKS if name != "speed"]
    findings = examine("fql", checks=checks)
    assert [finding.check for finding in findings] == checks
    assert all(finding.passed for finding in findings), findings


def test_what_the_other_checks_need_comes_first_and_ends_the_examination(capsys):
    assert check.main([path("untyped")]) == 1
    output = capsys.readouterr().out
    assert "1 failed: interface; not run before that is mended: shapes, purity" in " ".join(output.split())


def test_the_exit_code_is_0_where_all_pass(capsys):
    assert check.main(["bc", "--only", "interface,shapes"]) == 0
    assert "all passed" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments, words",
    [(["fqll"], "did you mean 'fql'"), (["no/such.py"], "no agent file"), (["fql", "--only", "speeed"], "'speed'")],
)
def test_a_mistake_of_the_caller_is_said_before_any_work(arguments, words):
    with pytest.raises(UserError, match=words):
        check.main(arguments)


def test_a_step_along_the_line_to_the_network_is_tracking_and_one_off_it_is_not():
    old, online = {"w": jax.numpy.zeros(3)}, {"w": jax.numpy.array([1.0, 2.0, 2.0])}
    on, off = ({"w": jax.numpy.array([0.1, 0.2, last])} for last in (0.2, 0.3))
    assert missed(old, on, online) < 1e-6 < TRACKING < missed(old, off, online)
    assert missed(old, {"w": -0.1 * online["w"]}, online) > TRACKING


@pytest.mark.slow
def test_an_agent_that_learns_the_opposite_fails_on_the_toys_and_one_that_learns_passes(full_optimization):
    findings = {name: examine(name, checks=["toy"])[-1] for name in (path("wrong_sign"), "fql")}
    assert not findings[path("wrong_sign")].passed
    assert "does not learn from rewards on toy-modes" in findings[path("wrong_sign")].text
    assert findings["fql"].passed, findings["fql"].text


@pytest.mark.slow
@pytest.mark.parametrize("name", ["rql", "diffusion_ql", "qam_e"])
def test_agents_of_the_repository_pass(name):
    checks = [check for check in CHECKS if check != "speed"]
    assert all(finding.passed for finding in examine(name, checks=checks))
