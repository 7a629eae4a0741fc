"""Toy tasks with known answers: what an algorithm must be able to do, checked in seconds and without a simulator.

`toy-modes` is one decision with a behaviour of four modes of different reward: cloning gets their average, 0.34 of 1,
and the best mode is the rarest. `toy-detour` is a walk round a wall under a sparse reward: value must travel 22
decisions, against the straight line to the goal, through data of aimless walks of which none is long enough. The
scores of cloning and of the optimum are known: in closed form on the first; 0 and 1, with the optimum's number of
steps, on the second.

Data are made from a seed in milliseconds. Environments are vectorised: states are arrays of N episodes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

Rows = dict[str, np.ndarray]
"""Transitions in the form of `envs.data.dataset.from_transitions`."""


class Toy(Protocol):
    """An environment of N independent episodes; the state is the observation."""

    def rows(self, rng: np.random.Generator) -> Rows:
        """The dataset."""

    def labels(self, states: np.ndarray, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Rewards (N,) and masks (N,) in {0, 1} of actions (N, d) in states (N, O), as the dataset has them."""

    def start(self, rngs: Sequence[np.random.Generator]) -> np.ndarray:
        """First states (N, O) of N episodes, each from a generator of its own."""

    def step(self, states: np.ndarray, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Next states (N, O), rewards (N,) and success (N,) in [0, 1] after actions (N, d)."""


# -------------------------------------------------------------------------------------------------- toy-modes


class Modes:
    """One decision: the observation (cos θ, sin θ) says by how much four modes of action are turned.

    Mode j is a Gaussian round a point m_j of the plane; the success exp(-|a - m_0|² / 2 w²) is 1 at the first, rarest
    mode's centre. The reward is thrice the success, so that Q is as steep as on the detour and both tasks take the same
    hyperparameters. The episode ends after one action.
    """

    centres = 0.7 * np.stack([f(np.deg2rad([0, 80, 160, 240])) for f in (np.cos, np.sin)], axis=-1)
    """m_j at θ = 0, (4, 2)."""
    probabilities = np.array([0.1, 0.3, 0.3, 0.3])
    spread = 0.1
    """Standard deviation of each coordinate of the actions of a mode."""
    width = 0.7
    """w."""
    height = 3.0
    """Reward of success 1."""

    def cloning_score(self) -> float:
        """Expected success of the behaviour: a Gaussian bump seen through Gaussian noise is a wider, lower bump."""
        variance = self.width**2 + self.spread**2
        distance = ((self.centres - self.centres[0]) ** 2).sum(-1)
        return float(self.probabilities @ np.exp(-distance / (2 * variance)) * self.width**2 / variance)

    def best_mode_score(self) -> float:
        """Expected success of cloning the best mode alone: where reweighting the data ends, without moving actions."""
        return self.width**2 / (self.width**2 + self.spread**2)

    def rows(self, rng):
        """120 trajectories of 1 to 119 independent decisions; mask 0 everywhere, so nothing bootstraps."""
        lengths = rng.permutation(np.arange(120)) + 1
        states = observe(rng.uniform(0, 2 * np.pi, lengths.sum()))
        actions = self.behaviour(states, rng)
        rewards, masks = self.labels(states, actions)
        return rows(lengths, states, actions, rewards, masks, states)

    def labels(self, states, actions):
        """The reward of the step; nothing bootstraps."""
        return self.step(states, actions)[1], np.zeros(len(states))

    def behaviour(self, states: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Actions (N, 2) as the data has them, clipped to the box."""
        mode = rng.choice(len(self.centres), len(states), p=self.probabilities)
        noise = self.spread * rng.standard_normal((len(states), 2))
        return np.clip(turn(states, self.centres[mode]) + noise, -1, 1)

    def start(self, rngs):
        """θ uniform."""
        return observe(np.array([rng.uniform(0, 2 * np.pi) for rng in rngs]))

    def step(self, states, actions):
        """The state stays."""
        distance = ((actions - turn(states, self.centres[:1])) ** 2).sum(-1)
        success = np.exp(-distance / (2 * self.width**2))
        return states, self.height * success, success


def observe(angles: np.ndarray) -> np.ndarray:
    """(cos θ, sin θ), (N, 2), of angles (N,)."""
    return np.stack([np.cos(angles), np.sin(angles)], axis=-1)


def turn(states: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Points (N, 2) or (1, 2) of the plane, turned by the angles whose cosines and sines are the states (N, 2)."""
    cos, sin = states.T
    x, y = points.T
    return np.stack([cos * x - sin * y, sin * x + cos * y], axis=-1)


# ------------------------------------------------------------------------------------------------- toy-detour


class Detour:
    """A point in a square room that a wall from the top nearly divides: from the upper left to the upper right.

    Actions are steps, at most `reach` long whatever their size; -1 a step until the point is at the goal. The data are
    walks of at most 40 steps from anywhere, each holding a random direction for 6 steps on average, while the way from
    start to goal takes 44.
    """

    beginning, goal = np.array([-0.7, 0.7]), np.array([0.7, 0.7])
    radius = 0.2
    """Distance from the goal at which it is reached."""
    wall = np.array([0.2, -0.4])
    """The wall's right lower corner; it is twice as wide as the first coordinate and goes up to the top."""
    reach = 0.06
    hold = 6
    """Mean number of steps for which the behaviour keeps its direction."""
    noise = 0.15
    """Standard deviation of the noise on each coordinate of its actions."""

    def optimal_steps(self) -> int:
        """Steps of the shortest way: straight to the wall's corner, along its end, straight to the goal."""
        corner = self.wall * [-1, 1]
        way = [self.beginning, corner, self.wall, self.goal]
        length = np.linalg.norm(np.diff(way, axis=0), axis=1).sum() - self.radius
        return int(np.ceil(length / self.reach))

    def rows(self, rng):
        """1000 walks of 5 to 40 steps from anywhere in the room; solved where the observed state is at the goal."""
        lengths = rng.integers(5, 41, 1000)
        walks = self.walk(self.anywhere(len(lengths), rng), lengths.max(), rng)
        kept = np.arange(lengths.max()) < lengths[:, None]
        states, actions, next_states = (array[kept] for array in walks)
        rewards, masks = self.labels(states, actions)
        return rows(lengths, states, actions, rewards, masks, next_states)

    def labels(self, states, actions):
        """-1 and 1 until the state is at the goal, there 0 and 0."""
        solved = self.at_goal(states)
        return solved - 1.0, 1.0 - solved

    def walk(self, states: np.ndarray, steps: int, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
        """Aimless walks from states (N, 2): states, actions and next states, each (N, steps, 2)."""
        made = []
        direction = observe(rng.uniform(0, 2 * np.pi, len(states)))
        for _ in range(steps):
            new = rng.uniform(size=(len(states), 1)) < 1 / self.hold
            direction = np.where(new, observe(rng.uniform(0, 2 * np.pi, len(states))), direction)
            actions = np.clip(direction + self.noise * rng.standard_normal(direction.shape), -1, 1)
            next_states = self.step(states, actions)[0]
            made.append((states, actions, next_states))
            states = next_states
        return tuple(np.stack(arrays, axis=1) for arrays in zip(*made, strict=True))

    def anywhere(self, count: int, rng: np.random.Generator) -> np.ndarray:
        """Points (count, 2) uniform over the room outside the wall."""
        points = rng.uniform(-1, 1, (4 * count, 2))
        return points[~self.in_wall(points)][:count]

    def start(self, rngs):
        """The beginning, give or take a step."""
        return np.stack([self.beginning + rng.uniform(-self.reach, self.reach, 2) for rng in rngs])

    def step(self, states, actions):
        """Each coordinate moves if it can: first x, then y."""
        moves = self.reach * actions / np.maximum(1, np.linalg.norm(actions, axis=-1, keepdims=True))
        for axis in (0, 1):
            moved = states.copy()
            moved[:, axis] = np.clip(states[:, axis] + moves[:, axis], -1, 1)
            states = np.where(self.in_wall(moved)[:, None], states, moved)
        solved = self.at_goal(states)
        return states, solved - 1.0, solved.astype(float)

    def in_wall(self, points: np.ndarray) -> np.ndarray:
        """Whether points (N, 2) lie inside the wall, (N,)."""
        return (np.abs(points[:, 0]) < self.wall[0]) & (points[:, 1] > self.wall[1])

    def at_goal(self, points: np.ndarray) -> np.ndarray:
        """Whether points (N, 2) are at the goal, (N,)."""
        return np.linalg.norm(points - self.goal, axis=-1) < self.radius


# ------------------------------------------------------------------------------------------------------ world

TOYS: dict[str, Callable[[], Toy]] = {"toy-modes": Modes, "toy-detour": Detour}


def rows(lengths, states, actions, rewards, masks, next_states) -> Rows:
    """Name the columns of trajectories of these lengths, laid end to end."""
    terminals = np.zeros(len(states))
    terminals[np.cumsum(lengths) - 1] = 1
    return dict(
        observations=states.astype(np.float32),
        actions=np.clip(actions, -1 + 1e-5, 1 - 1e-5).astype(np.float32),
        rewards=rewards.astype(np.float32),
        masks=masks.astype(np.float32),
        terminals=terminals.astype(np.float32),
        next_observations=next_states.astype(np.float32),
    )
