"""FQL whose flow is frozen, and moved all the same."""

import jax
import optax

from agents.fql import FQL


class FrozenMoves(FQL):
    name = "frozen_moves"

    def optimizers(self):
        return {"flow": optax.set_to_zero()}

    def update(self, state, batch):
        after, metrics = super().update(state, batch)
        smaller = jax.tree.map(lambda leaf: 0.999 * leaf, after.params["flow"])
        return after.replace(params={**after.params, "flow": smaller}), metrics
