"""The clouds of the local stack start processes of this host: they answer only whoever knows their word."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from emulators.environment import make_environment
from emulators.fakes.compute.server import start_compute
from emulators.ports import free_port
from emulators.processes import LOOPBACK, stop
from emulators.settings import BackendChoice, StackSettings
from tests.compute import PROJECT, ZONE
from tests.compute import Fake as Compute
from tests.fly import a_fake as a_fly
from tests.harness import plain_http
from tests.harness.waiting import ANSWER_SECONDS

INSTANCES: Final = f"/compute/v1/projects/{PROJECT}/zones/{ZONE}/instances"


@pytest.fixture
def endpoint(tmp_path: Path) -> Iterator[str]:
    settings = StackSettings(compute_port=free_port(), backend=BackendChoice.MEMORY, home=tmp_path)
    variables = make_environment(settings)
    server = start_compute(settings.compute_port, tmp_path, variables)
    yield variables["LAUNCHYARD_GCP_ENDPOINT"]
    stop(server)


def test_the_local_compute_engine_answers_below_its_secret_path_only(endpoint: str) -> None:
    root = endpoint.rpartition("/")[0]
    assert root.startswith(f"http://{LOOPBACK}:")
    Compute(endpoint).behave(boot=True)

    for base in (root, f"{root}/junk", f"{endpoint}x", endpoint[:-1]):
        for method in ("GET", "POST", "PUT", "DELETE"):
            for path in ("/control", "/control/clock", INSTANCES, ""):
                answer = plain_http.request(method, f"{base}{path}", timeout=ANSWER_SECONDS)
                assert answer.status_code == 403

    assert Compute(endpoint).calls() == {}


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer junk"}])
def test_the_local_fly_shows_no_machine_and_changes_nothing_without_its_token(headers: dict[str, str]) -> None:
    with a_fly() as fake:
        for method in ("GET", "PUT"):
            answer = plain_http.request(
                method, f"{fake.url}/fake", content=b"{}", headers=headers, timeout=ANSWER_SECONDS
            )
            assert answer.status_code == 401
            assert "made" not in answer.json()
