"""One module for each kind of thing that a deployment has: how it is looked at, and compared with what must be there.

Each has `look`, which asks Google and raises NotSeen, and `compare`, which does no I/O.
"""
