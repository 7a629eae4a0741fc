"""FQL with an attribute that is set in __init__."""

from agents.fql import FQL


class LostAttribute(FQL):
    name = "lost_attribute"

    def __init__(self, config, observation_dim, action_dim):
        super().__init__(config, observation_dim, action_dim)
        self.entropy_target = -action_dim
