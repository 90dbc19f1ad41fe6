"""The control plane under test, as for the tests of the functions."""

from tests.functions.capacity.conftest import worker
from tests.functions.conftest import target, world

__all__ = ["target", "worker", "world"]
