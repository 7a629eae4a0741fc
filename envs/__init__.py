"""The world: tasks, environments, datasets, downloads, generation and parallel evaluation."""
