"""Breaking the whole line at random, from a seed, and counting what came of it. `python -m tests.chaos`."""
