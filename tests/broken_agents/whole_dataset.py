"""FQL that keeps all observations of its data to itself."""

from agents.fql import FQL


class WholeDataset(FQL):
    name = "whole_dataset"

    def facts(self, data, rng):
        return {"observations": data.observations}
