"""FQL that integrates its flow in a Python loop of many steps."""

from agents.fql import FQL


class Unrolled(FQL):
    name = "unrolled"

    def flow_loss(self, train, batch, noise):
        x = noise["x0"]
        for _ in range(200):
            x = x + train.flow(batch.observations, x, noise["t"]) / 200
        return ((x - batch.actions) ** 2).mean()
