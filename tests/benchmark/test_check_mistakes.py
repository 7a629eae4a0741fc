"""What the check of an agent takes for a mistake, what not, and how it explains the toy tasks."""

from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from agents.base import Batch, Config
from benchmark import check
from benchmark.checking.examination import BEFORE_TOYS, CONDITIONS, examine
from benchmark.checking.flows import NONE, follow, union
from benchmark.checking.names import LESSONS
from benchmark.checking.toys import judge
from benchmark.checking.words import Fault, in_words
from benchmark.planning.registry import agent_names

SOUND = Path(__file__).parents[1] / "sound_agents"
EXAMPLE = str(Path(__file__).parents[2] / "examples" / "boltzmann_flow.py")
READING = [name for name in BEFORE_TOYS if name not in CONDITIONS]


@pytest.mark.parametrize("name", READING)
@pytest.mark.parametrize("path", sorted(SOUND.glob("*.py")), ids=lambda path: path.stem)
def test_nothing_is_said_of_what_is_unusual_and_right(path, name):
    finding = examine(str(path), checks=[name])[-1]
    assert finding.check == name and finding.passed, finding.text


@pytest.mark.parametrize("name", ["rql", "bc", EXAMPLE])
def test_the_programs_of_agents_of_the_repository_hold_no_mistake(name):
    findings = examine(name, checks=READING)
    assert [finding.check for finding in findings] == READING
    assert all(finding.passed for finding in findings), findings


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(set(agent_names()) - {"rql", "bc"}))
def test_the_programs_of_all_other_agents_hold_no_mistake(name):
    findings = examine(name, checks=READING)
    assert all(finding.passed for finding in findings), findings


def test_with_single_actions_gamma_itself_is_right():
    broken = Path(__file__).parents[1] / "broken_agents" / "one_step_discount.py"
    finding = examine(str(broken), {"chunk_length": 1}, checks=["losses"])[-1]
    assert finding.passed and "they are discounted by γ^1" in finding.text


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("fql", "they end with an episode; they are discounted by γ^5"),
        (str(SOUND / "ends.py"), "they end with an episode; they are discounted by γ^5"),
        (str(SOUND / "errors.py"), "they end with an episode; they are discounted by γ^5"),
        (str(SOUND / "unusual.py"), "they end with an episode; they are discounted by γ^5"),
        (str(SOUND / "masked.py"), "with which power of γ they are discounted is not to be seen"),
        ("bc", "masks weigh no next value"),
    ],
)
def test_of_the_discount_is_said_what_was_measured_whatever_else_masks_weigh(name, said):
    assert examine(name, checks=["losses"])[-1].text.endswith(said)


def test_a_target_that_moves_at_every_thousandth_update_moves_and_a_network_trained_late_is_not_called_frozen():
    finding = examine(str(SOUND / "seldom.py"), checks=["gradients"])[-1]
    assert finding.passed and "; frozen, or not trained in 8 steps: one_step;" in finding.text, finding.text


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "settings"), [("rebrac", {"target_period": 1000}), ("diffusion_ql", {"average_every": 1000})]
)
def test_targets_of_agents_of_the_repository_may_move_seldom(name, settings):
    finding = examine(name, settings, checks=["gradients"])[-1]
    assert finding.passed, finding.text


def marked(function, *arguments):
    """Marks of a function's results where each argument has its position as a mark."""
    jaxpr = jax.make_jaxpr(function)(*arguments).jaxpr
    return follow(jaxpr, [frozenset([i]) for i in range(len(arguments))], lambda _, operands: union(operands))


def test_marks_go_through_loops_branches_and_functions_and_nowhere_else():
    def scanned(x, y, z):
        (a, b), rows = jax.lax.scan(lambda c, row: ((c[1], c[1] * row), z), (x, x), y)
        return a, b, rows

    assert marked(scanned, 1.0, jnp.ones(3), 2.0) == [{0, 1}, {0, 1}, {2}]
    counted = marked(
        lambda n, x, y: jax.lax.while_loop(lambda c: c[0] < n, lambda c: (c[0] + 1, c[1] * y), (0, x)), 3, 1.0, 2.0
    )
    assert counted == [{0}, {0, 1, 2}]
    assert marked(lambda p, x, y: jax.lax.cond(p, lambda: x, lambda: y), True, 1.0, 2.0) == [{0, 1, 2}]
    assert marked(lambda x, y: (jax.jit(jax.nn.relu)(x), y * 0, 3.0), 1.0, 2.0) == [{0}, {1}, NONE]


@pytest.mark.parametrize(
    "scores, words",
    [
        ((0.3, 0.9), "on toy-modes: success toy-modes 0.30 (bc 0.34), toy-detour 0.90 (bc 0.00)"),
        ((0.3, 0.0), "toy-modes is one decision among four modes"),
        (
            (0.9, 0.0),
            "toy-detour is a walk round a wall with -1 a step until the goal, so value must travel 22 decisions",
        ),
        ((0.9, 0.0), "because of the TD target: next_observations, masks, γ^H, the rate of the target network"),
    ],
)
def test_a_failure_on_the_toys_says_what_they_test_and_what_it_usually_means(scores, words):
    modes, detour = scores
    with pytest.raises(Fault) as error:
        judge({"toy-modes": (modes, 0.34), "toy-detour": (detour, 0.0)}, uses_rewards=True)
    assert words in str(error.value) and "\n" not in str(error.value)


def test_a_failure_to_clone_is_explained_apart():
    with pytest.raises(Fault, match=r"clones worse than bc: .*direction of time"):
        judge({"toy-modes": (0.1, 0.34), "toy-detour": (0.0, 0.0)}, uses_rewards=False)
    assert judge({"toy-modes": (0.3, 0.34)}, uses_rewards=False) == "success toy-modes 0.30 (bc 0.34)"


def test_help_says_what_the_toys_test(capsys):
    with pytest.raises(SystemExit):
        check.main(["--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert all(" ".join(lesson.split()) in text for lesson in LESSONS.values())


def test_a_name_that_is_not_there_is_answered_by_those_that_are():
    with pytest.raises(AttributeError) as error:
        Batch(*range(7)).reward  # noqa: B018
    assert in_words(error.value, None).startswith("a batch has no 'reward' (did you mean 'rewards'?); there is: observ")
    with pytest.raises(AttributeError) as error:
        Config().learning_rat  # noqa: B018
    assert in_words(error.value, None).startswith("self.config has no 'learning_rat' (did you mean 'learning_rate'?)")
