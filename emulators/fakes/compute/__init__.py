"""A small Compute Engine: the instances and zone operations of its REST API v1 that a launcher uses.

`python -m emulators.fakes.compute` serves it, and the real client library talks to it. No official emulator exists.
"""
