"""FQL whose TD loss trains the policy through the next action."""

from agents.fql import FQL
from agents.losses import td_loss


class TrainedNextAction(FQL):
    name = "trained_next_action"

    def critic_loss(self, train, fixed, target, batch, noise):
        a_next = train.one_step(batch.next_observations, noise["next_latent"])
        y = self.td_target(batch, target.critic(batch.next_observations, a_next).mean(axis=0))
        return td_loss(train.critic(batch.observations, batch.actions), y, batch.valid)
