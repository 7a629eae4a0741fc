"""The algorithms: pure functions of (state, batch, rng). They know nothing of environments, files or launchers."""
