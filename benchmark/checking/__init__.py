"""The examination of an agent. Imports go down: examination > toys, checks of one thing each (interface, batches,
mistakes, checks, gradients) > next_values > subject > flows, words.
"""
