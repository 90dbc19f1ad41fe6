"""The tests. One folder a level: a test here starts whatever it needs, on free ports, in its own state folder."""
