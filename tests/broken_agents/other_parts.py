"""FQL with an update that does not do what the parts that it is said to be composed of do."""

from typing import ClassVar

import jax

from agents.fql import FQL


class OtherParts(FQL):
    name = "other_parts"
    composed: ClassVar = {"update": ("update_all", "shrink")}

    def update_all(self, state, batch):
        return super().update(state, batch)

    def shrink(self, state, batch):
        return state.replace(params=jax.tree.map(lambda leaf: 0.99 * leaf, state.params)), {}
