"""Fixtures for tests of every level."""

import signal
from collections.abc import Iterator
from uuid import uuid4

import pytest
from google.cloud.firestore import Client
from stamina.instrumentation import set_on_retry_hooks

from emulators import processes
from tests.harness import forked

pytest_plugins = [
    "tests.collection",
    "tests.infra.limits",
    "tests.shared_emulators",
    "tests.left_out",
    "tests.meanwhile",
    "tests.workers",
]

# A shell that starts us in the background has us ignore SIGINT, and nohup SIGHUP. What we start would inherit that, and
# some of it is sent these signals. A handler is not inherited: this process goes on, what it starts has the default.
signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, lambda _number, _frame: None)


@pytest.fixture(scope="session", autouse=True)
def _servers_of_stacks_are_forked() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as own:
        own.setattr(processes, "spawn", forked.spawn)
        yield


@pytest.fixture(autouse=True)
def _no_hook_outlives_its_test() -> Iterator[None]:
    """A worker's log gets every retry of its process: those of a later test would go to a file that is closed."""
    yield
    set_on_retry_hooks(None)


@pytest.fixture
def firestore_client(firestore_host: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    """A client of an empty project of the test's own."""
    monkeypatch.setenv("FIRESTORE_EMULATOR_HOST", firestore_host)
    client = Client(project=f"test-{uuid4().hex[:20]}")
    yield client
    client.close()  # type: ignore[no-untyped-call]
