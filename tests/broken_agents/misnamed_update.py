"""FQL with a pattern of updates of which it has only one."""

from agents.fql import FQL


class MisnamedUpdate(FQL):
    name = "misnamed_update"

    def cycle(self, step):
        return ("update", "update_critics"), None
