"""Fakes of cloud services that have no official emulator: Compute Engine, Fly's Machines API, and the
Intel Trust Authority."""
