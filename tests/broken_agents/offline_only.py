"""FQL whose sampler reads an array that only a dataset has."""

from agents.fql import FQL


class OfflineOnly(FQL):
    name = "offline_only"

    def sample(self, data, rng, state):
        start = data.starts(rng, self.config.batch_size, self.config.chunk_length)
        batch = data.batch(start, self.config.chunk_length, self.config.discount)
        return batch.extended(first=data.first[data.trajectory_of(start)])
