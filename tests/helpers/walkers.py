"""Experts that never learned anything, for tests of what is done with experts."""

from __future__ import annotations

import numpy as np


def parameters_of_a_walker(observation_dim: int, action_dim: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Parameters of a policy with two small layers."""
    rng = np.random.default_rng(seed)
    sizes = {"trunk/dense_0": (observation_dim, 8), "trunk/dense_1": (8, 8)}
    sizes |= dict.fromkeys(("mean", "log_std"), (8, action_dim))
    kernels = {f"{name}/kernel": rng.normal(0, 0.3, shape) for name, shape in sizes.items()}
    return {**kernels, **{f"{name}/bias": np.zeros(shape[1]) for name, shape in sizes.items()}}
