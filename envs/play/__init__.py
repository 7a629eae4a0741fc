"""Environments, stepped in parallel: evaluation and the online phase."""
