"""The report: one HTML file about all runs, with a script that makes tables of the data in it."""
