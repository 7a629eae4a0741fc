"""FQL that divides its loss by the number of valid chunks."""

from agents.fql import FQL


class NotANumber(FQL):
    name = "not_a_number"

    def loss(self, train, fixed, target, batch, noise):
        loss, metrics = super().loss(train, fixed, target, batch, noise)
        return loss / batch.valid.mean(), metrics
