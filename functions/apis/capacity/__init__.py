"""The face of the capacity contract: its routes, words and errors, over the one order engine."""
