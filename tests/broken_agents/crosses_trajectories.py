"""FQL whose own batches add up the rewards of whatever follows in the data."""

from agents.fql import FQL


class CrossesTrajectories(FQL):
    name = "crosses_trajectories"

    def sample(self, data, rng, state):
        H, discount = self.config.chunk_length, self.config.discount
        start = data.starts(rng, self.config.batch_size, H)
        rewards = sum(discount**k * data.at("rewards", start + k) for k in range(H))
        return data.batch(start, H, discount)._replace(rewards=rewards)
