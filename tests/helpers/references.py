"""Whole updates by the textbook, in numpy, and the tuned files: what the tests of every family compare with."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import jax
import numpy as np
import yaml

from agents.base import Agent, Batch, State
from envs.tasks import OGBENCH_DOMAINS


def reference_updates(agent: Agent, state: State, batch: Batch, *, clip: float | None, steps: int):
    """Parameters and targets after some updates, and the joint norm of each gradient.

    Adam on the gradient of all networks, scaled down to the joint norm `clip` where given; each target then takes its
    share of the parameters from *before* the step.
    """

    @jax.jit
    def gradient_of(params, targets, step):
        def objective(trained):
            return agent.loss(agent.bind(trained), agent.bind(params), agent.bind(targets), batch, noise)[0]

        noise = agent.draw_noise(jax.random.fold_in(state.rng, step), batch.actions.shape[0])
        return jax.grad(objective)(params)

    params, targets = jax.device_get((state.params, state.targets))
    mean = square = jax.tree.map(np.zeros_like, params)
    norms = []
    for step in range(steps):
        gradient = jax.device_get(gradient_of(params, targets, step))
        norms.append(sum((g**2).sum() for g in jax.tree.leaves(gradient)) ** 0.5)
        gradient = jax.tree.map(lambda g: g * (1.0 if clip is None else min(1.0, clip / norms[-1])), gradient)
        mean = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, mean, gradient)
        square = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g**2, square, gradient)
        bias, square_bias = 1 - 0.9 ** (step + 1), 1 - 0.999 ** (step + 1)
        rates = agent.target_rates(step + 1)
        targets = {
            name: jax.tree.map(lambda t, o: rates[name] * o + (1 - rates[name]) * t, tree, params[name])
            for name, tree in targets.items()
        }
        change = jax.tree.map(lambda m, v: m / bias / (np.sqrt(v / square_bias) + 1e-8), mean, square)
        params = jax.tree.map(lambda p, d: p - agent.config.learning_rate * d, params, change)
    return params, targets, norms


def assert_updates(agent: Agent, state: State, batch: Batch, *, clip: float | None, steps: int = 3) -> list[float]:
    """Assert that the agent's updates are those of the textbook; return the gradients' joint norms."""
    params, targets, norms = reference_updates(agent, state, batch, clip=clip, steps=steps)
    update = jax.jit(agent.update)
    for _ in range(steps):
        state, _ = update(state, batch)
    for found, expected in ((state.params, params), (state.targets, targets)):
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12), found, expected)
    return norms


def tuned_domains(cls: type[Agent]) -> dict[str, dict]:
    """The agent's tuned values by domain, after checking that every key is a field of its configuration."""
    text = (Path(__file__).parents[2] / "benchmark" / "planning" / "tuned" / f"{cls.name}.yaml").read_text()
    domains = yaml.safe_load(text)["domains"]
    assert list(domains) == [domain.name for domain in OGBENCH_DOMAINS]
    fields = {field.name for field in dataclasses.fields(cls.Config)}
    assert all(set(values) <= fields for values in domains.values())
    return domains
