"""FQL that says that only acting reads a hyperparameter which it does not have."""

from agents.fql import FQL


class MisnamedActing(FQL):
    name = "misnamed_acting"
    acting_options = ("alfa",)
