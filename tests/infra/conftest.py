"""Terraform, and the rehearsals that the tests of the deployment look at."""

from pathlib import Path

import pytest

from tests.infra.rehearsal import DEV, PROD, Rehearsal, rehearsed
from tests.infra.tools import Tools, obtain


@pytest.fixture(scope="session")
def tools() -> Tools:
    """Terraform and the schemas; a test that asks for them has the marker `terraform`."""
    return obtain()


@pytest.fixture(scope="session", params=[DEV, pytest.param(PROD, marks=pytest.mark.slow)])
def rehearsal(request: pytest.FixtureRequest, shared: Path, tools: Tools) -> Rehearsal:
    """The life of a deployment in each shape."""
    return rehearsed(request.param, shared, tools)
