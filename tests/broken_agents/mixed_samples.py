"""FQL whose target is (B, 1) and whose values are (E, B, 1), but whose rewards are (B,)."""

from agents.fql import FQL


class MixedSamples(FQL):
    name = "mixed_samples"

    def critic_loss(self, train, fixed, target, batch, noise):
        a_next = fixed.one_step(batch.next_observations, noise["next_latent"])
        next_value = target.critic(batch.next_observations, a_next).mean(axis=0)[:, None]
        y = batch.rewards + self.config.discount**self.config.chunk_length * batch.masks[:, None] * next_value
        return ((train.critic(batch.observations, batch.actions)[..., None] - y) ** 2).mean()
