"""FQL that minimises the value of its actions."""

import jax.numpy as jnp

from agents.fql import FQL


class WrongSign(FQL):
    name = "wrong_sign"
    suite_settings = {"toy": {"alpha": 0.3}}  # noqa: RUF012

    def policy_losses(self, train, fixed, batch, noise):
        distillation, q_loss = super().policy_losses(train, fixed, batch, noise)
        return distillation, jnp.negative(q_loss)
