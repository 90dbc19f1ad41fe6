"""Disrupts a whole deployment at random, from a seed, and checks what is left. `python -m tests.chaos`."""
