"""FQL whose TD error, written from left to right, does not discount a chunk's bootstrap value."""

from agents.fql import FQL


class NoDiscountOfError(FQL):
    name = "no_discount_of_error"

    def critic_loss(self, train, fixed, target, batch, noise):
        a_next = fixed.one_step(batch.next_observations, noise["next_latent"])
        next_value = target.critic(batch.next_observations, a_next).mean(axis=0)
        error = train.critic(batch.observations, batch.actions) - batch.rewards - batch.masks * next_value
        return (batch.valid * error**2).mean()
