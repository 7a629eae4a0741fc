"""FQL whose own batches take the next observation from beyond a trajectory's end."""

from agents.fql import FQL


class MissesTheEnd(FQL):
    name = "misses_the_end"

    def sample(self, data, rng, state):
        H = self.config.chunk_length
        start = data.starts(rng, self.config.batch_size, H)
        after = data.at("next_observations", start + H - 1)
        return data.batch(start, H, self.config.discount)._replace(next_observations=after)
