"""FQL whose TD target comes from the critic that is trained, and gets gradient."""

from agents.fql import FQL
from agents.losses import td_loss


class TrainedBootstrap(FQL):
    name = "trained_bootstrap"

    def critic_loss(self, train, fixed, target, batch, noise):
        a_next = fixed.one_step(batch.next_observations, noise["next_latent"])
        y = self.td_target(batch, train.critic(batch.next_observations, a_next).mean(axis=0))
        return td_loss(train.critic(batch.observations, batch.actions), y, batch.valid)
