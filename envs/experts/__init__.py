"""Experts: policies that walk in a direction, trained online, with which datasets of mazes are made."""
