"""FQL that counts its updates in a variable of its class."""

from agents.fql import FQL


class Counter(FQL):
    name = "counter"
    updates = 0

    def loss(self, train, fixed, target, batch, noise):
        type(self).updates += 1
        return super().loss(train, fixed, target, batch, noise)
