"""FQL that bootstraps from values of states in which episodes have ended."""

from agents.fql import FQL


class NoMasks(FQL):
    name = "no_masks"

    def td_target(self, batch, next_value):
        return batch.rewards + self.config.discount**self.config.chunk_length * next_value
