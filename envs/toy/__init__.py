"""Two tasks with known answers, made in code."""
