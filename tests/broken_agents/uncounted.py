"""FQL whose update does not count, so that every update draws the same noise."""

from agents.fql import FQL


class Uncounted(FQL):
    name = "uncounted"

    def update(self, state, batch):
        after, metrics = super().update(state, batch)
        return after.replace(step=state.step), metrics
