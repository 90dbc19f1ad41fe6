"""What runs inside the fake's instances: the real worker, as a process of this host, told what the metadata says."""

import sys
from pathlib import Path

from emulators.processes import Server, running, start, stop


class WorkerGuests:
    """`logs` is for their logs and configurations; what is started is noted there, as all of the local stack is."""

    def __init__(self, logs: Path) -> None:
        self._logs = logs
        self._running: dict[str, Server] = {}

    def start(self, name: str, config: str) -> None:
        document = self._logs / f"{name}.json"
        self._logs.mkdir(parents=True, exist_ok=True)
        document.touch(mode=0o600)
        document.write_text(config)
        argv = [sys.executable, "-m", "worker", "--config", str(document)]
        self._running[name] = start(f"the guest of {name}", argv, self._logs / f"{name}.log")

    def stop(self, name: str) -> None:
        if (guest := self._running.pop(name, None)) is not None:
            stop(guest)

    def ended(self) -> set[str]:
        """Return the names of those that ended by themselves since the last call."""
        ended = {name for name, guest in self._running.items() if not running(guest)}
        for name in ended:
            del self._running[name]
        return ended
