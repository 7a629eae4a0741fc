"""A fair search over hyperparameters."""
