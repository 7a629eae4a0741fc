"""FQL whose TD error, written from left to right, trains the next value too."""

from agents.fql import FQL


class TrainedError(FQL):
    name = "trained_error"

    def critic_loss(self, train, fixed, target, batch, noise):
        a_next = fixed.one_step(batch.next_observations, noise["next_latent"])
        discount = self.config.discount**self.config.chunk_length
        next_value = train.critic(batch.next_observations, a_next).mean(axis=0)
        error = train.critic(batch.observations, batch.actions) - batch.rewards - discount * batch.masks * next_value
        return (batch.valid * error**2).mean()
