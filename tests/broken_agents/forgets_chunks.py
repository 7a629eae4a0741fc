"""FQL that acts with single actions where chunks are wanted."""

from agents.fql import FQL


class ForgetsChunks(FQL):
    name = "forgets_chunks"

    def sample_actions(self, online, target, observations, rng):
        return super().sample_actions(online, target, observations, rng)[:, : self.action_dim]
