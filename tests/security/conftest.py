"""Fixtures of other folders that several tests of security need."""

from tests.functions.conftest import target, world

__all__ = ["target", "world"]
