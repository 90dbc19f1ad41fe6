"""What the tests of other folders prepare."""

from tests.contract.conftest import moto, moto_logs
from tests.e2e.conftest import guest_image
from tests.functions.capacity.conftest import worker
from tests.functions.conftest import settings, target, world
from tests.launcher.conftest import launcher, server

__all__ = ["guest_image", "launcher", "moto", "moto_logs", "server", "settings", "target", "worker", "world"]
