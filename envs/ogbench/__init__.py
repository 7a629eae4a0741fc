"""What is OGBench's alone: the recipes of its data."""
