"""What every level of tests may ask for."""

import signal
from collections.abc import Iterator
from uuid import uuid4

import pytest
from google.cloud.firestore import Client

pytest_plugins = ["tests.left_out", "tests.meanwhile", "tests.shared_emulators", "tests.workers"]

# A shell that starts us in the background has SIGINT ignored, as all that we start would; some of that is interrupted.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def firestore_client(firestore_host: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    """A client of an empty project of this test's own."""
    monkeypatch.setenv("FIRESTORE_EMULATOR_HOST", firestore_host)
    client = Client(project=f"test-{uuid4().hex[:20]}")
    yield client
    client.close()  # type: ignore[no-untyped-call]
