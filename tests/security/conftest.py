"""The control plane under test."""

from tests.functions.conftest import settings, target, world

__all__ = ["settings", "target", "world"]
