"""Fakes of cloud services that have no official emulator: Compute Engine, and the Intel Trust Authority."""
