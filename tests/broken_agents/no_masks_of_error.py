"""FQL whose TD error, written from left to right, goes on where an episode has ended."""

from agents.fql import FQL


class NoMasksOfError(FQL):
    name = "no_masks_of_error"

    def critic_loss(self, train, fixed, target, batch, noise):
        a_next = fixed.one_step(batch.next_observations, noise["next_latent"])
        next_value = target.critic(batch.next_observations, a_next).mean(axis=0)
        value = train.critic(batch.observations, batch.actions)
        error = batch.rewards - value + self.config.discount**self.config.chunk_length * next_value
        return (batch.valid * error**2).mean()
