"""What next values count for in an agent's losses: nothing where an episode has ended, elsewhere γ^H.

Measured on random parameters, as masks and γ may weigh or choose them in many ways, also in a constant target.
"""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from agents.alternating import AlternatingAgent
from agents.base import Agent, Batch, State
from benchmark.checking.flows import Path, place
from benchmark.checking.subject import Subject, batch_for, kinds_of_update, phases, random_state
from benchmark.checking.words import Fault

SIZE = 32
"""Samples of the batch that is measured on."""
DISCOUNTS = 0.8, 0.95
"""Two values of γ, to find the power with which it enters."""
FAR = 50.0
"""So much added to rewards or taken away that nothing else decides the sign of an error."""
ADDED = 0.0, 1.0, -FAR, FAR
"""To all rewards, to see what depends on them."""
ROUNDING = 1e-6
"""Most of a loss that is rounding, as a share of it."""


def terms(agent: Agent, trained: dict, state: State, batch: Batch) -> dict[str, Any]:
    """The value of each loss that the agent minimises. Gradient would reach `trained`; all else is as in `state`."""
    fixed, target = agent.bind(state.params, state.extra), agent.bind(state.targets)
    if not isinstance(agent, AlternatingAgent):
        noise = agent.draw_noise(state.rng, batch.actions.shape[0])
        return {"loss": agent.loss(agent.bind(trained), fixed, target, batch, noise)[0]}
    found: dict[str, Any] = {}

    def descend(state, batch, noise, **losses):
        values: dict[str, Any] = {}
        for name, loss in losses.items():
            found[f"{name}'s loss"], extra = loss(agent.bind({name: trained[name]}), fixed, target, batch, noise)
            values |= {f"{name}_loss": found[f"{name}'s loss"], **extra}
        return state, values

    looking = copy.copy(agent)
    looking.descend = descend  # type: ignore[method-assign]
    for name in kinds_of_update(phases(agent)):
        getattr(looking, name)(state, batch)
    return found


class Measure:
    """An agent's losses at random parameters, on a batch of which masks, rewards and next observations are varied."""

    def __init__(self, subject: Subject):
        """Nothing is computed yet."""
        self.agent = subject.agent
        self.state = random_state(self.agent, subject.data)
        self.batch = batch_for(self.agent, subject.data, SIZE)
        self.next = self.batch.next_observations
        self.whole = jax.jit(self.losses)
        self.slopes = jax.jit(jax.jacrev(self.losses, argnums=1))
        self.singly = jax.jit(jax.vmap(self.losses, (None, 0, 0, None)))

    def losses(self, agent: Agent, masks: Array, added: Any, next_observations: Array) -> dict[str, Array]:
        """Each loss with these masks and next observations, and with something added to rewards."""
        rewards = self.batch.rewards + added
        batch = self.batch._replace(masks=masks, rewards=rewards, next_observations=next_observations)
        return terms(agent, self.state.params, self.state, batch)

    def reads_masks(self) -> bool:
        """Whether a loss depends on masks."""
        none, all = (self.whole(self.agent, jnp.full(SIZE, mask), 0.0, self.next) for mask in (0.0, 1.0))
        return any(not np.array_equal(none[name], all[name]) for name in none)

    def counting(self, mask: float) -> set[str]:
        """Losses that, with all masks so, compare with rewards what γ weighs of s'.

        There other next observations have another effect with other rewards, and γ changes by how much. Of a model of
        rewards at s' the first is so, not the second.
        """
        (low, _), (high, sizes) = (self.entangled(discount, jnp.full(SIZE, mask)) for discount in DISCOUNTS)
        return {name for name in high if (np.abs(high[name] - low[name]) > ROUNDING * sizes[name]).any()}

    def entangled(self, discount: float, masks: Array) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """How far the effect of other next observations on each loss differs with what is `ADDED`; and its size."""
        agent = with_discount(self.agent, discount)
        rows = [[self.whole(agent, masks, added, s) for added in ADDED] for s in (self.next, 1 - 2 * self.next)]
        tables = {name: np.array([[float(cell[name]) for cell in row] for row in rows]) for name in rows[0][0]}
        effects = {name: table[1] - table[0] for name, table in tables.items()}
        sizes = {name: np.abs(table).max(axis=0) for name, table in tables.items()}
        return (
            {name: effect - effect[0] for name, effect in effects.items()},
            {name: size + size[0] for name, size in sizes.items()},
        )

    def along_masks(self, discount: float) -> dict[str, np.ndarray]:
        """Of each loss the slope along each mask where they are 0: proportional to the weight of the next value there,
        whatever the loss is, unless masks are compared, or the target is a constant to gradients.
        """
        slopes = self.slopes(with_discount(self.agent, discount), jnp.zeros(SIZE), 0.0, self.next)
        return {name: np.asarray(slope, np.float64) for name, slope in slopes.items()}

    def across_masks(self, discount: float) -> dict[str, np.ndarray]:
        """How far the effect of each mask on a loss differs between rewards far above and far below: proportional to
        the weight of the next value in losses that grow as a power of the error. Masks of models of states have none.
        """
        agent, one, found = with_discount(self.agent, discount), jnp.eye(SIZE), {}
        corners = [(mask, far) for far in (-FAR, FAR) for mask in (0, 1)]
        values = [self.singly(agent, mask * one, far * one, self.next) for mask, far in corners]
        for name in values[0]:
            a, b, c, d = (np.asarray(value[name], np.float64) for value in values)
            found[name] = np.where(np.abs(d - c - b + a) > 100 * ROUNDING * np.abs(c), d - c - b + a, 0)
        return found


def check_masks(measure: Measure, path: Path | None) -> str:
    """Raise a Fault where next values count though an episode has ended; say whether they were seen to end with it.

    Not seen: a next value that γ does not weigh, that is not compared with rewards, or that is taken of other
    observations than `next_observations`.
    """
    line = place(path, type(measure.agent)) if path else ""
    ended, onward = measure.counting(0.0), measure.counting(1.0)
    if ended - onward:
        raise Fault(
            "the next value counts only where masks are 0, that is where an episode has ended: they are 1 where it "
            f"goes on; write batch.masks times it{line}"
        )
    if ended:
        raise Fault(
            "the TD target adds a next value to the rewards that masks do not weigh, though there is none where an "
            f"episode has ended: write batch.masks times it{line}"
        )
    return "they end with an episode" if onward else "whether they end with an episode is not to be seen"


def check_discount(measure: Measure, path: Path | None) -> str:
    """Raise a Fault where next values are weighed with another power of γ than γ^H; say with which they are.

    Models of rewards and states may be weighed by masks too, without γ: power 0 is no fault here.
    """
    length = measure.agent.return_steps
    for measured in (measure.along_masks, measure.across_masks):
        low, high = map(measured, DISCOUNTS)
        powers = {name: power_of(low[name], high[name]) for name in low}
        for name, power in powers.items():
            if power not in (None, 0, length):
                raise wrong_discount(measure.agent, f"{name} discounts the next value by γ^{power}", path)
        if length in powers.values():
            return f"they are discounted by γ^{length}"
    return "with which power of γ they are discounted is not to be seen"


def power_of(low: np.ndarray, high: np.ndarray) -> int | None:
    """The power of γ that what was measured with both `DISCOUNTS` is proportional to, if it is one."""
    ratio = high[low != 0] / low[low != 0]
    powers = np.log(ratio[ratio > 0]) / np.log(DISCOUNTS[1] / DISCOUNTS[0])
    if not len(powers) or not np.ptp(powers) < 0.1:
        return None
    power = round(powers.mean())
    return power if abs(powers.mean() - power) < 0.1 else None


def wrong_discount(agent: Agent, said: str, path: Path | None) -> Fault:
    """What is wrong with a discount, at an equation, and how it should be."""
    length = agent.return_steps
    chunk = length == agent.config.chunk_length
    away = f"a chunk of {length} actions" if chunk else f"{length} steps, its return_steps,"
    power, steps = ("H", "config.chunk_length") if chunk else ("n", "return_steps")
    line = place(path, type(agent)) if path else ""
    return Fault(
        f"{said}, but it is {away} away: R + γ^{power} m V'; write self.td_target(batch, next_value), or "
        f"self.config.discount ** self.{steps}{line}"
    )


def with_discount(agent: Agent, discount: float) -> Agent:
    """The agent with another γ."""
    config = dataclasses.replace(agent.config, discount=discount)
    return type(agent)(config, agent.observation_dim, agent.action_dim)
