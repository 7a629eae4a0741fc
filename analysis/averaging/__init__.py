"""What of the runs may be averaged, and the averages: selection, sets of tasks, statistics with intervals."""
