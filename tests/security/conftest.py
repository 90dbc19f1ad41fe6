"""The control plane under test, as for the tests of the functions."""

from tests.functions.capacity.conftest import worker
from tests.functions.conftest import settings, target, world

__all__ = ["settings", "target", "worker", "world"]
