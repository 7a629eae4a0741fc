"""FQL that also descends on its target critic."""

import jax

from agents.fql import FQL


class TrainedTarget(FQL):
    name = "trained_target"

    def update(self, state, batch):
        after, metrics = super().update(state, batch)
        noise = self.draw_noise(state.rng, batch.actions.shape[0])

        def objective(targets):
            train = self.bind(state.params)
            return self.loss(train, train, self.bind(targets), batch, noise)[0]

        gradient = jax.grad(objective)(state.targets)
        targets = jax.tree.map(lambda t, g: t - 1e-3 * g, after.targets, gradient)
        return after.replace(targets=targets), metrics
