"""FQL whose critic also takes a goal, of which nothing says how large it is."""

from agents.fql import FQL


class MisnamedInput(FQL):
    name = "misnamed_input"

    def networks(self):
        return super().networks() | {"critic": (self.critic(), "observation action goal")}
