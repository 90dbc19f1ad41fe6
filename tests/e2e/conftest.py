"""The guest image for real machines."""

from pathlib import Path

import pytest

from tests.shared_emulators import alone
from worker.guest.build import build
from worker.guest.root import PROJECT


@pytest.fixture(scope="session")
def guest_image(shared: Path) -> Path:
    """The directory of the guest image made of this checkout; built, by one worker, if it is not up to date."""
    kept = PROJECT / ".launchyard"
    with alone(shared, "guest image"):
        return kept / "images" / build(kept / "images", kept / "cache")
