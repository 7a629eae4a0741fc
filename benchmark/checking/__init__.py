"""The examination of an agent. Imports go down: examination > toys, mistakes, checks > subject > flows, words."""
