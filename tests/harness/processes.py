"""Processes that a test kills, freezes and starts again."""

import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Final

import psutil

from emulators.processes import Server, family, running
from tests.harness.waiting import await_value

KILL_SECONDS: Final = 120.0
KILLED: Final = -signal.SIGKILL


class SupervisedServer:
    """A server, started by `launch`. `server` is None while it is down; whoever changes that holds the lock."""

    def __init__(self, name: str, launch: Callable[[], Server]) -> None:
        self.name = name
        self.lock = threading.Lock()
        self.server: Server | None = None
        self.deaths: list[int | None] = []
        """The exit code of each death that `keep_running` saw."""
        self._launch = launch
        self._stopping = threading.Event()
        self._watcher: threading.Thread | None = None

    @property
    def runs(self) -> bool:
        return self.server is not None and running(self.server)

    def start(self) -> None:
        self.server = self._launch()

    def keep_running(self) -> None:
        """Start the server, and start it again whenever it was killed with SIGKILL, until `stop`."""
        self.start()
        self._watcher = threading.Thread(target=self._restart_when_killed)
        self._watcher.start()

    def kill(self) -> None:
        """Kill the server's own session with SIGKILL: with it the functions' workers, but no launcher's machines."""

        def kill_members() -> bool:
            members = [] if self.server is None else [one for one in family(self.server) if self._is_member(one)]
            for process in members:
                with suppress(psutil.NoSuchProcess):
                    process.kill()
            return not members

        with suppress(TimeoutError):
            await_value(kill_members, f"the end of {self.name}", KILL_SECONDS)
        self.server = None

    def stop(self) -> None:
        """Kill the server for good."""
        with self.lock:
            self._stopping.set()
            self.send(signal.SIGKILL)
        if self._watcher is not None:
            self._watcher.join()

    def send(self, number: signal.Signals) -> None:
        if self.server is not None:
            with suppress(ProcessLookupError):
                os.kill(self.server.pid, number)

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Stop the server with SIGSTOP, and continue it at the end; do nothing if it is down."""
        with suspended([psutil.Process(self.server.pid)] if self.server is not None and self.runs else []):
            yield

    def _restart_when_killed(self) -> None:
        while self.server is not None:
            code = self._await_end(self.server)
            with self.lock:
                if self._stopping.is_set():
                    return
                self.deaths.append(code)
                if code != KILLED:  # it would end in the same way each time
                    return
                self.start()

    def _await_end(self, server: Server) -> int | None:
        """Return the exit code of the server, a child of this process, once it has ended."""
        return psutil.Process(server.pid).wait()

    def _is_member(self, process: psutil.Process) -> bool:
        try:
            return self.server is not None and os.getsid(process.pid) == self.server.pid
        except ProcessLookupError:
            return False


@contextmanager
def suspended(processes: Sequence[psutil.Process]) -> Iterator[None]:
    """Stop those that still run with SIGSTOP, and continue them at the end."""
    try:
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.suspend()
        yield
    finally:
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.resume()


def is_running(process: psutil.Process) -> bool:
    """Return whether the process runs; a zombie does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def await_end(process: psutil.Process) -> None:
    await_value(lambda: not is_running(process), f"the end of process {process.pid}")


def ignore_signals() -> None:
    """Ignore SIGINT and SIGTERM from now on: an interrupted clean-up would leave servers behind."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
