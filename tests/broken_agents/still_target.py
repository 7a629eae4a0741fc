"""FQL with a target network that is never moved."""

from agents.fql import FQL


class StillTarget(FQL):
    name, targets = "still_target", ("critic",)

    def target_rates(self, step):
        return {"critic": 0.0}
