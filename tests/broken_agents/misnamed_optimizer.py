"""FQL whose optimiser is of a network that it does not have."""

from agents.fql import FQL


class MisnamedOptimizer(FQL):
    name = "misnamed_optimizer"

    def optimizers(self):
        return {"critics": self.adam(1e-3)}
