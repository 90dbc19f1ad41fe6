"""A check names what a project lacks, each thing once, and nothing if all is there."""

import pytest

from deploy.report import exit_code
from deploy.rows import Verdict
from tests.deploy.conftest import Serve


@pytest.mark.parametrize("gateway", [False, True])
@pytest.mark.parametrize("gcs", [False, True])
def test_a_whole_project_lacks_nothing(serve: Serve, gateway: bool, gcs: bool) -> None:
    rows = serve(gateway=gateway, gcs=gcs).check()

    assert [row for row in rows if row.verdict is not Verdict.OK] == []
    assert exit_code(rows) == 0
