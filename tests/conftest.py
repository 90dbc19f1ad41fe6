"""What every level of tests may ask for: the emulators, started once a run, and orders made in one line."""

import signal
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from google.cloud.firestore import Client

from emulators.google import start_firestore, start_pubsub
from emulators.processes import LOOPBACK, free_port, stop

# A shell that starts us in the background has SIGINT ignored, as all that we start would; some of that is interrupted.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def firestore_host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """`host:port` of a Firestore emulator of this run's own."""
    port = free_port()
    server = start_firestore(port, _logs(tmp_path_factory))
    _warm_up(f"{LOOPBACK}:{port}")
    yield f"{LOOPBACK}:{port}"
    stop(server)


def _warm_up(host: str) -> None:
    """Write and query once, with patience: the first time takes the emulator longer than a store waits."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("FIRESTORE_EMULATOR_HOST", host)
        client = Client(project="warm-up")
    first = client.collection("first")
    batch = client.batch()
    batch.create(first.document("one"), {"number": 1})
    batch.commit(timeout=120)
    assert [document.id for document in first.order_by("number").stream(timeout=120)] == ["one"]
    client.close()  # type: ignore[no-untyped-call]


@pytest.fixture
def firestore_client(firestore_host: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    """A client of an empty project of this test's own."""
    monkeypatch.setenv("FIRESTORE_EMULATOR_HOST", firestore_host)
    client = Client(project=f"test-{uuid4().hex[:20]}")
    yield client
    client.close()  # type: ignore[no-untyped-call]


@pytest.fixture(scope="session")
def pubsub_host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """`host:port` of a Pub/Sub emulator of this run's own."""
    port = free_port()
    server = start_pubsub(port, _logs(tmp_path_factory))
    yield f"{LOOPBACK}:{port}"
    stop(server)


def _logs(factory: pytest.TempPathFactory) -> Path:
    return factory.mktemp("emulator")
