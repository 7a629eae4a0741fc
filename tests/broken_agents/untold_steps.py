"""FQL with returns of seven steps that it does not tell."""

from agents.fql import FQL


class UntoldSteps(FQL):
    name = "untold_steps"

    def sample(self, data, rng, state):
        start = data.starts(rng, self.config.batch_size, 7)
        return data.batch(start, self.config.chunk_length, self.config.discount, steps=7)
