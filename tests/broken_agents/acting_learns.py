"""FQL that says that only acting reads alpha, which its loss does."""

from agents.fql import FQL


class ActingLearns(FQL):
    name = "acting_learns"
    acting_options = ("alpha",)
