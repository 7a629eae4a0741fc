"""SAC equals the class with which OGBench trained its experts, in float64, over six updates and in its actions."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agents.base import REGISTRY, Batch
from envs.experts.policy import Expert
from envs.experts.sac import SAC, SACConfig, named
from tests.helpers import conformance as c

B, O, D = 4, 5, 3
COMMON = dict(learning_rate=3e-3, discount=0.97, target_rate=0.05, batch_size=B, hidden=(8, 8))
CASES = {
    "ant": dict(critic_hidden=(8, 8)),
    "humanoid": dict(critic_hidden=(8, 8, 8), layer_norm=True, value="mean"),
}
VECTORS = json.loads((Path(__file__).parents[1] / "data" / "conformance_sac.json").read_text())
NETWORKS = {"critic": 1, "target critic": 2, "actor": c.tanh_normal, "temperature": 0}


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def batch(update: int) -> Batch:
    """The batch of an update, as the vectors were made with."""
    b = np.arange(B)
    arrays = dict(
        observations=0.8 * np.sin(1 + 0.7 * np.arange(B * O) + update).reshape(B, O),
        actions=0.6 * np.cos(0.3 + 1.9 * np.arange(B * D) + update).reshape(B, D),
        rewards=np.sin(0.5 + b + update),
        masks=np.where((b + update) % 3 == 2, 0.0, 1.0),
        next_observations=0.7 * np.cos(2 + 0.9 * np.arange(B * O) + update).reshape(B, O),
        valid=np.ones(B),
        action_weights=np.ones((B, D)),
    )
    return Batch(**{name: jnp.asarray(array) for name, array in arrays.items()})


@jax.jit
def updated(agent: SAC, state, batch: Batch, noise: dict):
    """SAC's update under noise that is given."""
    agent.draw_noise = lambda rng, batch_size: noise  # type: ignore[method-assign]
    return agent.update(state, batch)


@pytest.mark.parametrize("case", CASES)
def test_six_updates_are_those_of_ogbench(case):
    agent = SAC(SACConfig(**COMMON, **CASES[case]), O, D)
    state = c.filled_state(agent, NETWORKS)
    for number, expected in enumerate(VECTORS[case]["updates"]):
        state, metrics = updated(agent, state, batch(number), c.fill_noise(agent.draws(B), start=2 * number))
        found = {
            "critic/critic_loss": metrics["critic_loss"],
            "actor/actor_loss": metrics["entropy_loss"] + metrics["q_loss"],
            "actor/alpha_loss": metrics["temperature_loss"],
            "actor/alpha": metrics["temperature"],
            "actor/entropy": metrics["entropy"],
        }
        assert {name: float(value) for name, value in found.items()} == pytest.approx(expected["info"], rel=1e-9)
        trees = {
            "modules_actor": state.params["actor"],
            "modules_alpha": state.params["temperature"],
            "modules_critic": state.params["critic"],
            "modules_target_critic": state.targets["critic"],
        }
        for name, tree in trees.items():
            leaves = jax.tree.leaves(tree)
            sums = [sum(float(leaf.sum()) for leaf in leaves), sum(float((leaf**2).sum()) for leaf in leaves)]
            assert sums == pytest.approx(expected["sums"][name], rel=1e-9), (number, name)
    check_actions(agent, state, case)


def check_actions(agent: SAC, state, case: str) -> None:
    """Actions with noise from JAX's policy, and without from the one that reads files, are OGBench's."""
    observations = batch(7).observations
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jax.random, "normal", lambda key, shape: jnp.asarray(c.fill_draw(100, c.Draw("normal", shape))))
        sampled = agent.act(state, observations, jax.random.key(0))[:, 0]
    np.testing.assert_allclose(sampled, VECTORS[case]["sampled"], rtol=1e-9)
    parameters = {name: np.asarray(leaf, np.float32) for name, leaf in named(state.params["actor"]).items()}
    expert = Expert(parameters)
    assert expert.sizes == (O, D)
    modes = [expert(observation) for observation in np.asarray(observations)]
    np.testing.assert_allclose(modes, VECTORS[case]["mode"], rtol=2e-5, atol=1e-6)


def test_the_data_tool_is_no_agent_that_a_run_can_ask_for():
    assert SAC not in REGISTRY.values()
