"""Fixtures of the contract's tests."""

import pytest

from tests.functions.exports.client import Machine, launch, of_images
from tests.functions.world import World


@pytest.fixture
def machine(world: World) -> Machine:
    """A machine that runs the image of a new export."""
    of_images(world)
    return launch(world)
