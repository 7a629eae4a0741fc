"""FQL that adds noise of numpy's to its rewards."""

import numpy as np

from agents.fql import FQL


class NumpyNoise(FQL):
    name = "numpy_noise"

    def loss(self, train, fixed, target, batch, noise):
        batch = batch._replace(rewards=batch.rewards + np.random.normal(size=batch.rewards.shape))
        return super().loss(train, fixed, target, batch, noise)
