"""FQL that discounts a chunk's bootstrap value as if it were one step away."""

from agents.fql import FQL


class OneStepDiscount(FQL):
    name = "one_step_discount"

    def td_target(self, batch, next_value):
        return batch.rewards + self.config.discount * batch.masks * next_value
