"""A small Compute Engine: of its REST API v1 the instances and zone operations that a launcher uses. No official emulator exists.

`python -m emulators.compute --port N` serves it; the real client library talks to it.
"""
