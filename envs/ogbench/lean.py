"""OGBench's manipulation environments without what an evaluation does not read.

At every step they collect all that they know, 30 to 100 small arrays, three times: as it was before the step, for the
observation, and as `info`. An evaluation executes a chunk of actions and reads the observation after the last of them,
and whether the task is solved; of what was before a step OGBench itself reads how far the buttons were down. The rest
is left out here. Physics, observations, rewards, success and draws are the environment's own, to the last bit
(tests/envs/test_lean.py).
"""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np

NOT_READ = np.empty(0, np.float32)
"""In place of an observation that is not read."""


def lean(kind: Any) -> Any:
    """The class of a manipulation environment, without what is not read."""

    class Lean(kind):
        observes = True  # whether what follows returns observations; a reset does always
        before_step = False

        def reset(self, *args: Any, **options: Any) -> tuple[np.ndarray, dict[str, Any]]:
            self.observes = True
            return super().reset(*args, **options)

        def pre_step(self) -> None:
            self.before_step = True
            super().pre_step()
            self.before_step = False

        def compute_ob_info(self) -> dict[str, Any]:
            if not self.before_step:
                return super().compute_ob_info()
            joints = (self._data.joint(f"buttonbox_joint_{i}") for i in range(getattr(self, "_num_buttons", 0)))
            return {f"privileged/button_{i}_pos": joint.qpos.copy() for i, joint in enumerate(joints)}

        def compute_observation(self) -> np.ndarray:
            return super().compute_observation() if self.observes else NOT_READ

        def get_step_info(self) -> dict[str, Any]:
            return {}  # to which the environment adds success

        def known(self) -> dict[str, Any]:
            """What `info` has otherwise."""
            return super().get_step_info()

    return Lean


def is_lean(env: gymnasium.Env) -> bool:
    """Whether `make_lean` has changed it."""
    return hasattr(env.unwrapped, "observes")


def make_lean(env: gymnasium.Env) -> None:
    """Leave out what is not read, of a manipulation environment of OGBench; others stay as they are."""
    inner: Any = env.unwrapped
    if hasattr(inner, "compute_ob_info") and not is_lean(env):
        inner.__class__ = lean(type(inner))


def observe(env: gymnasium.Env, observes: bool) -> None:
    """Say whether the observation of the next step is read."""
    if is_lean(env):
        env.unwrapped.observes = observes  # type: ignore[attr-defined]


def known(env: gymnasium.Env) -> dict[str, Any]:
    """What a lean environment's `info` leaves out; {} of others."""
    return env.unwrapped.known() if is_lean(env) else {}  # type: ignore[attr-defined]
