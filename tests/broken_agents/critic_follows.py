"""IFQL whose regression of the state value moves the critic too."""

from agents.ifql import IFQL
from agents.losses import expectile_loss


class CriticFollows(IFQL):
    name = "critic_follows"

    def value_loss(self, train, target, batch):
        q = train.critic(batch.observations, batch.actions).mean(axis=0)
        return expectile_loss(q - train.value(batch.observations), self.config.expectile).mean()
