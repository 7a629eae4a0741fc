"""Which networks do updates train, and do targets follow theirs?"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from agents.base import Agent, Batch, State
from benchmark.checking.subject import (
    Subject,
    batch_for,
    compiled,
    distance,
    initial,
    kinds_of_update,
    phases,
)
from benchmark.checking.words import Fault

FIRST_STEPS = 8
"""Steps of an optimiser within which a network that is not frozen is trained."""
AFTER_WARM_UP = 100_000
"""Updates after which schedules of an agent, e.g. of a target that follows late, have begun."""
LONGEST_PERIOD = 100_000
"""Updates within which a target has to move."""
TRACKING = 1e-5
"""Most by which a target may miss the line towards its network, as a share of their distance; rounding is 1e-7."""


def check_gradients(subject: Subject) -> str:
    """Every network is trained by some update, or frozen and stays; targets move only towards their network.

    Where one stays, `target_rates` is asked for an update at which it moves, and that is made. Not seen: whether a
    network is trained whose optimiser acts less often than in its first few steps; a target that is moved seldom by
    other means than `target_rates` is taken for one that never moves.
    """
    agent = subject.agent
    batch = batch_for(agent, subject.data, 8)
    first, other = (initial(agent, seed, subject.data) for seed in (0, 1))
    start, cycle = phases(agent)[-1]
    state = dataclasses.replace(first, targets=other.targets, step=jnp.asarray(start + AFTER_WARM_UP, jnp.int32))
    frozen = {name for name, own in agent.optimizers().items() if holds_still(own, first.params[name])}
    moved: set[str] = set()
    followed: set[str] = set()
    for name in cycle * -(-FIRST_STEPS // len(cycle)):
        after, _ = compiled(name)(agent, state, batch)
        moving = {network for network in agent.networks() if distance(state.params[network], after.params[network]) > 0}
        if stirred := sorted(moving & frozen):
            raise Fault(
                f"{name} moves the network '{stirred[0]}', which its optimiser in optimizers() holds still: change "
                "parameters by optimisers only"
            )
        moved |= moving
        followed |= {target for target in state.targets if check_tracking(name, target, state, after)}
        state = after
    taught = [network for network in agent.networks() if network not in frozen]
    idle = [network for network in taught if jax.tree.leaves(state.params[network]) and network not in moved]
    if idle:
        raise Fault(
            f"the network '{idle[0]}' gets no gradient: no loss uses train.{idle[0]} (fixed.{idle[0]} is a constant)"
        )
    still = [target for target in state.targets if target not in followed]
    still = [target for target in still if not moves_seldom(agent, target, state, batch)]
    if still:
        raise Fault(
            f"the target of '{still[0]}' never moves, not in {LONGEST_PERIOD:,} updates: update it with track(), or "
            "leave it out of targets"
        )
    rewards = "" if subject.uses_rewards else "; rewards are not used"
    held = f"; frozen, or not trained in {FIRST_STEPS} steps: {', '.join(sorted(frozen))}" if frozen else ""
    return f"reach {', '.join(taught)}{held}; targets are only tracked{rewards}"


def holds_still(optimizer: optax.GradientTransformation, params: Any) -> bool:
    """Whether an optimiser's first steps are 0 whatever the gradient: of a frozen network, or one trained later or less
    often.
    """
    gradient = jax.tree.map(jnp.ones_like, params)
    kept = optimizer.init(params)
    for _ in range(FIRST_STEPS):
        steps, kept = optimizer.update(gradient, kept, params)
        if any(np.any(leaf) for leaf in jax.tree.leaves(steps)):
            return False
    return True


def moves_seldom(agent: Agent, target: str, state: State, batch: Batch) -> bool:
    """Whether a target moves at the next update at which `target_rates` says that it does; errors: `check_tracking`."""
    steps = state.step + jnp.arange(1, LONGEST_PERIOD + 1)
    rates = np.asarray(jax.vmap(agent.target_rates)(steps).get(target, jnp.zeros(steps.shape)))
    if not (rates > 0).any():
        return False
    before = dataclasses.replace(state, step=steps[(rates > 0).argmax()] - 1)
    names = kinds_of_update(phases(agent)[-1:])
    return any(check_tracking(name, target, before, compiled(name)(agent, before, batch)[0]) for name in names)


def check_tracking(name: str, target: str, state: State, after: State) -> bool:
    """Whether a target moved; raise a Fault where it did so other than towards its network, before or after."""
    tree, new = state.targets[target], after.targets[target]
    if distance(tree, new) == 0:
        return False
    misses = [missed(tree, new, parameters[target]) for parameters in (state.params, after.params)]
    if min(misses) > TRACKING:
        raise Fault(
            f"{name} trains the target of '{target}': it moves by more than its share of the way to its network; "
            "gradients must not reach targets"
        )
    return True


def missed(old: Any, new: Any, online: Any) -> float:
    """How far a step from `old` to `new` leads off the line to `online`, as a share of the line's length."""
    change, line = (
        np.concatenate([(np.asarray(b, np.float64) - np.asarray(a, np.float64)).ravel() for a, b in zip(*pair)])  # noqa: B905
        for pair in ((jax.tree.leaves(old), jax.tree.leaves(new)), (jax.tree.leaves(old), jax.tree.leaves(online)))
    )
    length = np.linalg.norm(line)
    if length == 0:
        return float("inf")
    share = np.clip(change @ line / length**2, 0, 1)
    return float(np.linalg.norm(change - share * line) / length)
