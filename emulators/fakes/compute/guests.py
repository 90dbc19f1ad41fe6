"""Runs the real worker for the fake's instances, as a process of this host, with the metadata's configuration."""

import sys
from pathlib import Path

from emulators.processes import Server, running, start, stop
from launcher.machines.private import make_folder, opener


class WorkerGuests:
    """`logs` holds their logs and configurations, and the record of the processes, as for the whole local stack."""

    def __init__(self, logs: Path) -> None:
        self._logs = logs
        self._running: dict[str, Server] = {}

    def start(self, name: str, config: str) -> None:
        document = self._logs / f"{name}.json"
        make_folder(self._logs)
        with open(document, "w", opener=opener) as file:
            file.write(config)
        argv = [sys.executable, "-m", "worker", "--config", str(document)]
        self._running[name] = start(f"the guest of {name}", argv, self._logs / f"{name}.log")

    def stop(self, name: str) -> None:
        if (guest := self._running.pop(name, None)) is not None:
            stop(guest)

    def ended(self) -> set[str]:
        """Return the names of the instances whose worker ended by itself since the last call."""
        ended = {name for name, guest in self._running.items() if not running(guest)}
        for name in ended:
            del self._running[name]
        return ended
