"""FQL whose own field of a batch has no axis of samples."""

from agents.fql import FQL


class OwnShape(FQL):
    name = "own_shape"

    def sample(self, data, rng, state):
        batch = super().sample(data, rng, state)
        return batch.extended(reward_scale=batch.rewards.std())
