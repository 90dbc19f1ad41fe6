"""Fakes of cloud services that have no official emulator: Compute Engine, Fly's Machines API, Intel Trust Authority."""
