"""FQL that takes masks for marks of an episode's end."""

from agents.fql import FQL


class MasksReversed(FQL):
    name = "masks_reversed"

    def td_target(self, batch, next_value):
        return batch.rewards + self.config.discount**self.config.chunk_length * (1 - batch.masks) * next_value
