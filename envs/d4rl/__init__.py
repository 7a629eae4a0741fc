"""D4RL's tasks, data and environments."""
