"""Terraform for the tests of the deployment."""

from pathlib import Path
from typing import Final

import pytest

from tests.infra.tools import Tools, obtain

ROOT: Final = Path(__file__).parents[2]
FILES: Final = ROOT / "infra" / "terraform"


@pytest.fixture(scope="session")
def tools() -> Tools:
    """Terraform and the schemas; a test that asks for them has the marker `terraform`."""
    return obtain()
