"""What the tests of other folders prepare."""

from tests.functions.capacity.conftest import worker
from tests.functions.conftest import settings, target, world
from tests.launcher.conftest import launcher, server

__all__ = ["launcher", "server", "settings", "target", "worker", "world"]
