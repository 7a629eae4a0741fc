"""FQL with an update composed of parts of which it has only one."""

from typing import ClassVar

from agents.fql import FQL


class MisnamedPart(FQL):
    name = "misnamed_part"
    composed: ClassVar = {"update": ("update_critics", "update_actor")}

    def update_critics(self, state, batch):
        return super().update(state, batch)
