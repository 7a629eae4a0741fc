"""The protocol: suites, tuned hyperparameters, plan, training loop, checkpoints, run store and launcher."""
