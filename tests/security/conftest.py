"""Fixtures of other folders."""

from tests.launcher.conftest import launcher, server

__all__ = ["launcher", "server"]
