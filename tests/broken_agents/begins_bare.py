"""FQL that leaves its targets behind where a phase begins."""

from agents.fql import FQL


class BeginsBare(FQL):
    name = "begins_bare"

    def begin(self, state, phase):
        return state.replace(targets={})
