"""The protocol: suites, tuned hyperparameters, plan, training loop, checkpoints, run store and launcher.

from benchmark import load_policy
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from benchmark.loop.policies import Policy, load_policy

__all__ = ["Policy", "load_policy"]


def __getattr__(name: str) -> Any:
    """Import what loads policies, and JAX with it, only where that is asked for."""
    if name not in __all__:
        raise AttributeError(f"module 'benchmark' has no attribute '{name}'")
    from benchmark.loop import policies

    return getattr(policies, name)
