"""Fixtures of the contract's tests."""

import pytest

from functions.domain.accounts import AccountType
from tests.functions.world import World


@pytest.fixture
def worker(world: World) -> str:
    """A launcher account's key."""
    return world.admit(AccountType.LAUNCHER)[1]
