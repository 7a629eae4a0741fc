"""FQL whose update asks whether it is vmapped: over a batch of hyperparameters it learns nothing."""

import jax

from agents.fql import FQL


class TwoPrograms(FQL):
    name = "two_programs"

    def update(self, state, batch):
        after, metrics = super().update(state, batch)

        @jax.custom_batching.custom_vmap
        def share(x):
            return x

        share.def_vmap(lambda size, batched, x: (0.5 * x, batched[0]))
        params = jax.tree.map(lambda a, b: a + share(b - a), state.params, after.params)
        return after.replace(params=params), metrics
