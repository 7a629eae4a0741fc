"""D4RL's adroit tasks on gymnasium-robotics' hand, with D4RL's rewards, terminations and successes.

gymnasium-robotics has the same hand, objects and observations on the current MuJoCo. Its releases differ from D4RL in
rewards (the sign of the first term, in some), do not end an episode when the pen falls, and cut all episodes at 200
steps. Here the reward is computed anew from the simulation's state after each step, after
`hand_manipulation_suite/{pen,door,hammer,relocate}_v0.py`. The physics stay another version's: scores are marked.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.linalg import norm

if TYPE_CHECKING:
    import gymnasium


def pen(model: Any, data: Any) -> tuple[float, bool, bool]:
    """Turn the pen to the orientation shown; the episode ends when it falls."""
    place = data.body("Object").xpos
    away = norm(place - data.site("eps_ball").xpos)
    similarity = float(_direction(data, "object") @ _direction(data, "target"))
    reward = similarity - away
    if away < 0.075 and similarity > 0.9:
        reward += 10
    if away < 0.075 and similarity > 0.95:
        reward += 50
    fallen = bool(place[2] < 0.075)
    return float(reward) - 5 * fallen, fallen, bool(away < 0.075 and similarity > 0.95)


def _direction(data: Any, what: str) -> np.ndarray:
    """Unit vector from a pen's bottom to its top."""
    along = data.site(f"{what}_top").xpos - data.site(f"{what}_bottom").xpos
    return along / norm(along)


def door(model: Any, data: Any) -> tuple[float, bool, bool]:
    """Undo the latch and swing the door open."""
    hinge = float(data.qpos[model.joint("door_hinge").dofadr[0]])  # D4RL takes the velocity's address too
    reward = -0.1 * norm(data.site("S_grasp").xpos - data.site("S_handle").xpos)
    reward += -0.1 * (hinge - 1.57) ** 2 - 1e-5 * np.sum(data.qvel**2)
    reward += 2 * (hinge > 0.2) + 8 * (hinge > 1.0) + 10 * (hinge > 1.35)
    return float(reward), False, hinge >= 1.35


def hammer(model: Any, data: Any) -> tuple[float, bool, bool]:
    """Pick up the hammer and drive the nail in."""
    handle, head, nail = data.body("Object").xpos, data.site("tool").xpos, data.site("S_target").xpos
    left = norm(nail - data.site("nail_goal").xpos)
    reward = -0.1 * norm(data.site("S_grasp").xpos - handle) - norm(head - nail) - 10 * left
    reward -= 1e-2 * norm(data.qvel)
    reward += 2 * (handle[2] > 0.04 and head[2] > 0.04) + 25 * (left < 0.020) + 75 * (left < 0.010)
    return float(reward), False, bool(left < 0.010)


def relocate(model: Any, data: Any) -> tuple[float, bool, bool]:
    """Take the ball to the target."""
    ball, palm, target = data.body("Object").xpos, data.site("S_grasp").xpos, data.site("target").xpos
    away = norm(ball - target)
    reward = -0.1 * norm(palm - ball)
    if ball[2] > 0.04:
        reward += 1 - 0.5 * norm(palm - target) - 0.5 * away
    reward += 10 * (away < 0.1) + 20 * (away < 0.05)
    return float(reward), False, bool(away < 0.1)


OUTCOMES: dict[str, Callable[[Any, Any], tuple[float, bool, bool]]] = {
    "pen": pen,
    "door": door,
    "hammer": hammer,
    "relocate": relocate,
}
"""From the simulation's model and state to D4RL's (reward, termination, goal achieved)."""


def held_for(name: str) -> int:
    """Steps at the goal that D4RL calls a success when there are more: 20 for the pen, 25 for the others."""
    return 20 if name.startswith("pen") else 25


def make_hand(name: str) -> gymnasium.Env:
    """Make the environment of 'pen', 'door', 'hammer' or 'relocate', without a limit on its episodes' length."""
    import gymnasium
    import gymnasium_robotics

    class Hand(gymnasium.Wrapper):
        """Reward, termination and success as D4RL has them."""

        held = 0

        def reset(self, **options: Any):
            self.held = 0
            return self.env.reset(**options)

        def step(self, action):
            observation, _, _, _, _ = self.env.step(action)
            inner: Any = self.unwrapped
            reward, ended, achieved = OUTCOMES[name](inner.model, inner.data)
            self.held += achieved
            return observation, reward, ended, False, {"success": float(self.held > held_for(name))}

    gymnasium.register_envs(gymnasium_robotics)
    titles = {"pen": "Pen", "door": "Door", "hammer": "Hammer", "relocate": "Relocate"}
    # v1 and later; their limit and the order of their checks are taken off.
    return Hand(gymnasium.make(f"AdroitHand{titles[name]}-v1", disable_env_checker=True).unwrapped)
