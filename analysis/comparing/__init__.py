"""Whether two agents differ: tests and intervals that hold at few seeds, and how many seeds a difference needs."""
