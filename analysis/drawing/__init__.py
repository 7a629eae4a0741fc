"""Figures by kind, made to be read at the width of one column and by the colour-blind."""
