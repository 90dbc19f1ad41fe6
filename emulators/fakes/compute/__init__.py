"""A small Compute Engine: of its REST API v1 the instances and zone operations that a launcher uses.

`python -m emulators.fakes.compute` serves it, and the real client library talks to it. No official emulator exists.
"""
