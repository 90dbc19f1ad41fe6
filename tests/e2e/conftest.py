"""What a real machine boots from."""

from pathlib import Path

import pytest

from worker.guest.build import build
from worker.guest.root import PROJECT


@pytest.fixture(scope="session")
def guest_image() -> Path:
    """The directory of the guest image made of this checkout; built where it is not up to date."""
    kept = PROJECT / ".launchyard"
    return kept / "images" / build(kept / "images", kept / "cache")
