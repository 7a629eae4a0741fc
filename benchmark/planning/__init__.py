"""From names and options to runs: suites, protocols, agents, hyperparameters, data."""
