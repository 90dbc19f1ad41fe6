"""A live project, served by the fake, and its control plane's address."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import pytest
import stamina
from werkzeug import Response

from deploy.check import check
from deploy.data import LauncherConfig, TerraformOutputs, read_data
from deploy.deployment import DeploymentTarget
from deploy.google import PAGE_SIZE, Endpoints, Google
from deploy.rows import Row, RowVerdict
from emulators.serving import serving
from tests.deploy.whole import POOL, PROJECT, REGION, whole
from tests.harness.google_project.api import TOKEN, FakeGoogle
from tests.harness.google_project.behaviour import Behaviour
from tests.harness.google_project.resources import Resources

OUTPUTS: Final = TerraformOutputs(launcher_config={POOL: LauncherConfig(credentials={"type": "external_account"})})


class Token:
    """Credentials that the fake accepts."""

    def headers(self, url: str) -> Mapping[str, str]:
        return {"Authorization": f"Bearer {TOKEN}"}


class ControlPlane:
    """Answers every request with one status."""

    status = 200

    def __call__(self, environ: Any, start_response: Any) -> Any:
        return Response(json.dumps({"status": "ok"}), self.status)(environ, start_response)


@dataclass
class Live:
    """A project that is served at `url`, whose control plane is at `address`."""

    url: str
    address: str
    fake: FakeGoogle
    control_plane: ControlPlane

    @property
    def resources(self) -> Resources:
        return self.fake.resources

    @property
    def behaviour(self) -> Behaviour:
        return self.fake.behaviour

    def reset(self, gateway: bool = False, gcs: bool = True) -> None:
        """Make the project whole again, in this shape."""
        self.fake.resources, self.fake.behaviour = whole(self.address, gateway, gcs), Behaviour(page_size=PAGE_SIZE)
        self.fake.asked.clear()
        self.control_plane.status = 200

    def check(self, outputs: TerraformOutputs | None = OUTPUTS, **emulators: str) -> Sequence[Row]:
        google = Google(Token(), Endpoints(self.url, emulators))
        try:
            return check(google, DeploymentTarget(PROJECT, REGION), read_data(), outputs)
        finally:
            google.close()

    def faults(self, outputs: TerraformOutputs | None = OUTPUTS) -> Sequence[Row]:
        return [row for row in self.check(outputs) if row.verdict is not RowVerdict.OK]


@pytest.fixture(scope="session")
def served() -> Iterator[Live]:
    control_plane = ControlPlane()
    with serving(control_plane) as address:
        fake = FakeGoogle(PROJECT, Resources())
        with serving(fake) as url:
            yield Live(url, address, fake, control_plane)


@pytest.fixture
def live(served: Live) -> Live:
    """A whole project without a gateway, whose outputs are in Cloud Storage."""
    served.reset()
    return served


@pytest.fixture(autouse=True)
def _repeat_at_once() -> Iterator[None]:
    """Repeat requests as often as always, but without the waits between."""
    stamina.set_testing(True, attempts=4, cap=True)
    yield
    stamina.set_testing(False)
