"""FQL that does not discount a chunk's bootstrap value."""

from agents.fql import FQL


class NoDiscount(FQL):
    name = "no_discount"

    def td_target(self, batch, next_value):
        return batch.rewards + batch.masks * next_value
