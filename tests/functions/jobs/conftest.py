"""Fixtures of the contract's tests."""

import time

import pytest

from tests.functions.jobs.client import Launcher, register
from tests.functions.world import World


@pytest.fixture
def launcher(world: World) -> Launcher:
    return register(world)


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses, in seconds, that answers to faults would have made."""
    pauses = list[float]()
    monkeypatch.setattr(time, "sleep", pauses.append)
    return pauses
