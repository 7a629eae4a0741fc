"""The integrator of flows: steps, what is done after each, ends of each sample's own, and derivatives."""

import jax
import jax.numpy as jnp
import numpy as np

from agents import flow

X = jnp.array([[0.5, -1.0], [2.0, 0.1]])


def test_it_takes_euler_steps_at_the_left_ends():
    seen = flow.integrate(lambda x, t: t + 0 * x, X, 4)
    np.testing.assert_allclose(seen, X + (0 + 0.25 + 0.5 + 0.75) / 4, rtol=1e-6)
    np.testing.assert_allclose(flow.integrate(lambda x, t: t + 0 * x, X, 4, start=2), X + 1.25 / 4, rtol=1e-6)


def test_the_clipped_integral_is_eulers_and_its_program_is_without_a_projection():
    def field(x, t):
        return jnp.sin(3 * x) + t

    np.testing.assert_array_equal(flow.euler(field, X, 5), jnp.clip(flow.integrate(field, X, 5), -1, 1))
    text = str(jax.make_jaxpr(lambda x: flow.integrate(field, x, 5))(X))
    assert "max" not in text and "min" not in text


def test_a_projection_is_made_after_every_step():
    def there_and_back(x, t):
        return jnp.where(t < 0.5, 8.0, -2.0) + 0 * x

    free = flow.integrate(there_and_back, 0 * X, 4)
    np.testing.assert_allclose(free, 3.0)
    kept = flow.integrate(there_and_back, 0 * X, 4, project=lambda x: jnp.clip(x, -1, 1))
    np.testing.assert_allclose(kept, 0.0)


def test_each_sample_may_end_at_a_time_of_its_own():
    end = jnp.array([[0.0], [0.5]])
    seen = flow.integrate(flow.until(lambda x, t: x + t, end), X, 5)
    np.testing.assert_allclose(seen[0], X[0])
    x, h = X[1], 0.5 / 5
    for i in range(5):
        x = x + h * (x + i * h)
    np.testing.assert_allclose(seen[1], x, rtol=1e-6)


def test_the_derivative_that_is_carried_along_is_that_of_the_end_by_the_beginning():
    def field(x, t):
        return jnp.sin(3 * x) * (1 + t)

    z = jnp.array([[0.3], [-2.0], [1.1]])
    end, slope = flow.integrate(flow.with_derivative(field), (z, jnp.ones_like(z)), 6)
    np.testing.assert_allclose(end, flow.integrate(field, z, 6), rtol=1e-6)
    expected = jax.vmap(jax.grad(lambda z: flow.integrate(field, z[None, None], 6)[0, 0]))(z[:, 0])
    np.testing.assert_allclose(slope[:, 0], expected, rtol=1e-5)
