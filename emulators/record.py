"""The processes that the local stack started. `start` itself records them, so that `down` stops exactly those."""

from pathlib import Path
from typing import Final

from pydantic import ValidationError

from emulators.processes import SERVER, STARTED, Server, StartFailed, family, stop
from launcher.machines.private import make_folder

LOGS: Final = "logs"


def make_logs(home: Path) -> Path:
    """Make the folder of the logs, and return it. An earlier version let everyone read it, and the logs in it."""
    logs = home / LOGS
    make_folder(logs)
    logs.chmod(0o700)
    return logs


class Record:
    """The servers of the stack whose state is in the folder `home`, in the order they were started."""

    def __init__(self, home: Path) -> None:
        self._file = home / LOGS / STARTED

    def read(self) -> list[Server]:
        """Return all recorded servers. Raises StartFailed if another version wrote the file in another format."""
        try:
            return [SERVER.validate_json(line) for line in self._file.read_bytes().splitlines()]
        except FileNotFoundError:
            return []
        except ValidationError as error:
            message = (
                f"{self._file} cannot be read. Another version of launchyard may have written it. "
                "Stop the processes that it names, and remove it."
            )
            raise StartFailed(message) from error

    def alive(self) -> list[Server]:
        """Return the servers of which any process still runs."""
        return [server for server in self.read() if family(server)]

    def stop_all(self) -> list[Server]:
        """Stop the servers, last started first. Return those of which any process still ran.

        A server may start another until it ends itself, so the record is read again. It is removed once nothing in it
        runs. Raises StartFailed if something still does.
        """
        stopped: list[Server] = []
        while alive := [server for server in self.alive() if server not in stopped]:
            for server in reversed(alive):
                stop(server)
            stopped += alive
        if left := self.alive():
            named = ", ".join(f"{server.name} (process {server.pid})" for server in left)
            raise StartFailed(f"Still running: {named}. Stop what you can, then run `launchyard down` again.")
        self._file.unlink(missing_ok=True)
        return stopped
