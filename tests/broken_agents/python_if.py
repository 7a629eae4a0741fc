"""FQL in which Python decides on a numeric hyperparameter."""

from agents.fql import FQL


class PythonIf(FQL):
    name = "python_if"

    def loss(self, train, fixed, target, batch, noise):
        loss, metrics = super().loss(train, fixed, target, batch, noise)
        if self.config.alpha > 50:
            loss = loss / self.config.alpha
        return loss, metrics
