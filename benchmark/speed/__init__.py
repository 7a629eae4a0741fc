"""Measuring updates and environment steps per second."""
