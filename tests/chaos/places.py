"""Where a chaos run's servers are: each is killed, frozen and started again by one at a time."""

import os
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Final

import psutil

from emulators.processes import LOOK_SECONDS, Server, family, running

KILL_SECONDS: Final = 10.0


@dataclass
class Place:
    """`server` is None while it is down. Whoever changes that holds the lock."""

    name: str
    lock: threading.Lock = field(default_factory=threading.Lock)
    server: Server | None = None

    @property
    def runs(self) -> bool:
        return self.server is not None and running(self.server)

    def kill(self) -> None:
        """kill -9 of the server's own session: of the functions' workers, too, but of no machine."""
        deadline = time.monotonic() + KILL_SECONDS
        while (members := _members(self.server)) and time.monotonic() < deadline:
            for process in members:
                with suppress(psutil.NoSuchProcess):
                    process.kill()
            time.sleep(LOOK_SECONDS)
        self.server = None

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """SIGSTOP, and SIGCONT in the end; nothing where the server is down."""
        if self.server is None or not running(self.server):
            yield
            return
        with suspended([psutil.Process(self.server.pid)]):
            yield


@contextmanager
def suspended(processes: Sequence[psutil.Process]) -> Iterator[None]:
    """SIGSTOP of all that still run, and SIGCONT in the end."""
    try:
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.suspend()
        yield
    finally:
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.resume()


def keep_going() -> None:
    """From now on no signal hurries this process: tidying up that is interrupted would leave servers behind."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


def _members(server: Server | None) -> list[psutil.Process]:
    return [] if server is None else [one for one in family(server) if _session(one) == server.pid]


def _session(process: psutil.Process) -> int | None:
    try:
        return os.getsid(process.pid)
    except ProcessLookupError:
        return None
