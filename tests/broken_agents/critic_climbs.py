"""FBRAC whose policy loss trains the critic to like what the policy does."""

from agents.fbrac import FBRAC


class CriticClimbs(FBRAC):
    name = "critic_climbs"

    def q_loss(self, train, fixed, batch, noise):
        s = batch.observations
        return -train.critic(s, self.integrate(train, s, noise["latent"])).mean()
