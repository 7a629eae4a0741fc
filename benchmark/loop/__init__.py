"""Doing a run: compiled segments, checkpoints, evaluation between them, the online phase."""
