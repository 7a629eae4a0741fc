"""FQL that asks for a network that it does not have."""

from agents.fql import FQL


class MisnamedNetwork(FQL):
    name = "misnamed_network"

    def policy_losses(self, train, fixed, batch, noise):
        return super().policy_losses(train, fixed, batch, noise), train.critics(batch.observations, batch.actions)
