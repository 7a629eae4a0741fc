"""FQL that counts from 0 again where its online phase begins."""

from agents.fql import FQL


class CountsAgain(FQL):
    name = "counts_again"

    def begin(self, state, phase):
        return state.replace(step=0 * state.step) if phase == "online" else state
