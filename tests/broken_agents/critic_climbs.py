"""FBRAC whose policy loss trains the critic to like what the policy does."""

from agents import flow
from agents.fbrac import FBRAC


class CriticClimbs(FBRAC):
    name = "critic_climbs"

    def q_loss(self, train, fixed, batch, noise):
        s = batch.observations
        action = flow.actions(train.flow, s, noise["latent"], self.config.flow_steps)
        return -train.critic(s, action).mean()
