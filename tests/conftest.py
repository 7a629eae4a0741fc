"""Settings of all tests."""

import jax
import pytest

# Nearly all of the suite's time is compilation of small programs: let the compiler try less.
jax.config.update("jax_disable_most_optimizations", True)


@pytest.fixture
def full_optimization():
    """For the few tests whose time is computation."""
    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.config.update("jax_disable_most_optimizations", True)
