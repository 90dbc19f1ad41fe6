"""The emulators of one run: each starts when the first test asks for it, and serves all workers until the run ends.

pytest-xdist gives each worker a session of its own. The workers share a folder that records what one of them started;
the process that starts the workers stops it at the end. In a run without workers one process does both.
"""

import fcntl
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from emulators import warm_up
from emulators.google import start_firestore, start_pubsub
from emulators.ports import free_port
from emulators.processes import LOOPBACK, Server
from emulators.record import LOGS, Record

HOME: Final = pytest.StashKey[Path]()
SHARED: Final = "shared"
"""The folder's name in a worker's input."""

Start = Callable[[int, Path], Server]


@pytest.fixture(scope="session")
def shared(request: pytest.FixtureRequest) -> Path:
    """The folder that the workers of this run share."""
    return request.config.stash[HOME]


@pytest.fixture(scope="session")
def firestore_host(shared: Path) -> str:
    """`host:port` of the run's Firestore emulator."""
    return address(shared, "firestore", start_firestore, warm_up.firestore)


@pytest.fixture(scope="session")
def pubsub_host(shared: Path) -> str:
    """`host:port` of the run's Pub/Sub emulator."""
    return address(shared, "pubsub", start_pubsub, warm_up.pubsub)


def address(home: Path, name: str, start: Start, answer: Callable[[], None]) -> str:
    """Return `host:port` of the run's emulator of this name, which the first caller starts.

    `answer` warms the emulator up: it sends each kind of request that tests send. Raises StartFailed.
    """
    with alone(home, name):
        file = home / name
        if not file.exists():
            port = free_port()
            start(port, home / LOGS)
            with pytest.MonkeyPatch.context() as own:
                own.setenv(f"{name.upper()}_EMULATOR_HOST", f"{LOOPBACK}:{port}")
                answer()
            file.write_text(f"{LOOPBACK}:{port}")
        return file.read_text()


@contextmanager
def alone(home: Path, name: str) -> Iterator[None]:
    """Hold a lock of this name against the other workers of the run."""
    with (home / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def pytest_configure(config: pytest.Config) -> None:
    given = getattr(config, "workerinput", None)
    if not given:  # SIGTERM ends a run as Ctrl-C does: everything that it started is stopped
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    config.stash[HOME] = Path(given[SHARED] if given else tempfile.mkdtemp(prefix="launchyard-tests-"))


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Give the folder to a worker that is about to start."""
    node.workerinput[SHARED] = str(node.config.stash[HOME])


def pytest_unconfigure(config: pytest.Config) -> None:
    """Stop the emulators once no worker runs any more."""
    home = config.stash.get(HOME, None)
    if home is not None and not hasattr(config, "workerinput"):
        Record(home).stop_all()
        shutil.rmtree(home)
