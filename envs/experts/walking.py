"""A body on a plane that is rewarded for walking in a direction: OGBench's environment for training experts."""

from __future__ import annotations

from collections.abc import Callable

import gymnasium
import numpy as np
import ogbench.online_locomotion
from ogbench.online_locomotion.wrappers import DMCHumanoidXYWrapper, GymXYWrapper

from envs.experts.bodies import Body

TRAINING, EVALUATION = 0, 1
"""What an episode is for: part of its identity."""

assert ogbench.online_locomotion  # its import registers the environments


class Walk:
    """Episodes one after another, each a function of its identity and the actions alone."""

    def __init__(self, body: Body):
        """Make the environment."""
        env = gymnasium.make(body.env_id, max_episode_steps=body.episode_steps, disable_env_checker=True)
        wrapper = DMCHumanoidXYWrapper if "humanoid" in body.env_id else GymXYWrapper
        self.env = wrapper(env, resample_interval=body.redraw_every)
        self.sizes = self.env.observation_space.shape[0], self.env.action_space.shape[0]
        """(O, d) of observations, the direction included, and actions."""

    def reset(self, *identity: int) -> np.ndarray:
        """Begin the episode of that identity; its first observation (O,)."""
        for_numpy, for_env = np.random.SeedSequence(identity).spawn(2)
        np.random.seed(for_numpy.generate_state(8))  # the directions come from numpy's shared generator
        return self.env.reset(seed=int(for_env.generate_state(1)[0]))[0]

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool]:
        """(next observation, reward, whether the body fell, whether the episode is over)."""
        observation, reward, fell, cut, _ = self.env.step(action)
        return observation, float(reward), fell, fell or cut


def play(walk: Walk, policy: Callable[[np.ndarray], np.ndarray], *identity: int) -> tuple[float, int]:
    """The return and the length of an episode."""
    observation, total, length, over = walk.reset(*identity), 0.0, 0, False
    while not over:
        observation, reward, _, over = walk.step(policy(observation))
        total, length = total + reward, length + 1
    return total, length
