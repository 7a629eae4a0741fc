"""BC that asks for a random array by another name than it gave it."""

from agents import flow
from agents.bc import BC


class MisnamedDraw(BC):
    name = "misnamed_draw"

    def loss(self, train, fixed, target, batch, noise):
        s = batch.observations
        loss = flow.matching_loss(
            lambda x, t: train.flow(s, x, t), noise["x_0"], batch.actions, noise["t"], batch.valid
        )
        return loss, dict(flow_loss=loss)
