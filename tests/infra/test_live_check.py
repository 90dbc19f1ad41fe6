"""A project that is as Terraform made it lacks nothing that `launchyard deploy check` looks for."""

from typing import Any

import pytest

from deploy.check import check
from deploy.data import TerraformOutputs, read_data
from deploy.deployment import DeploymentTarget
from deploy.google import Endpoints, Google
from deploy.rows import RowVerdict
from emulators.serving import serving
from tests.deploy.conftest import ControlPlane, Token
from tests.harness.google_project.api import FakeGoogle
from tests.infra.live_project import live_project
from tests.infra.rehearsal import Rehearsal

pytestmark = [pytest.mark.infra, pytest.mark.terraform]


def test_a_check_of_what_terraform_applied_finds_no_fault(rehearsal: Rehearsal) -> None:
    assert rehearsal.failed == ""
    given: dict[str, Any] = rehearsal.plan["variables"]
    project, number, region = (given[name]["value"] for name in ("project_id", "project_number", "region"))
    with serving(ControlPlane()) as address:
        made = live_project(rehearsal.resources, project, number, address)
        outputs = TerraformOutputs.model_validate({**rehearsal.outputs, "url": address})
        with serving(FakeGoogle(project, made)) as url:
            google = Google(Token(), Endpoints(url))
            rows = check(google, DeploymentTarget(project, region), read_data(), outputs)
            google.close()

    assert [row for row in rows if row.verdict is not RowVerdict.OK] == []
    assert len(rows) > 100
