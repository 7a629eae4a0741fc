"""What all rooms of the analysis print with: names as parts of other texts, bars of progress."""
