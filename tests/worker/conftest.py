"""A control plane that a worker can talk to, and the sample source, over real HTTP."""

from collections.abc import Iterator

import pytest
import stamina

from emulators.ports import free_port
from emulators.processes import LOOPBACK, stop
from emulators.source import start_source
from tests.worker.control_plane import FakeControlPlane, serving
from worker.network import Client, client


@pytest.fixture
def plane() -> Iterator[FakeControlPlane]:
    with serving() as plane:
        yield plane


@pytest.fixture(scope="session")
def arke(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The base URL of the sample source."""
    port = free_port()
    server = start_source(port, tmp_path_factory.mktemp("source"))
    yield f"http://{LOOPBACK}:{port}"
    stop(server)


@pytest.fixture
def http() -> Iterator[Client]:
    with client(loopback_gateway=None) as http:
        yield http


@pytest.fixture
def no_waiting() -> Iterator[None]:
    """The usual number of tries, without the waits between them."""
    with stamina.set_testing(True, attempts=100, cap=True):
        yield
