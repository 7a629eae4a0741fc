"""Datasets: reading and checking files, the arrays on the device, how batches are drawn."""
