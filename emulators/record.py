"""What the local stack started: noted by `start` itself, so that whatever happens then, `down` stops exactly that."""

from pathlib import Path
from typing import Final

from pydantic import ValidationError

from emulators.processes import SERVER, STARTED, Server, StartFailed, family, stop

LOGS: Final = "logs"


class Record:
    """The servers of the stack whose state is in the folder `home`, in the order they were started."""

    def __init__(self, home: Path) -> None:
        self._file = home / LOGS / STARTED

    def read(self) -> list[Server]:
        """Raises StartFailed if another version wrote the file: it may know processes in another way."""
        try:
            return [SERVER.validate_json(line) for line in self._file.read_bytes().splitlines()]
        except FileNotFoundError:
            return []
        except ValidationError as error:
            message = (
                f"{self._file} cannot be read; another version of launchyard may have written it. "
                "Stop the processes that it names by hand, and remove it."
            )
            raise StartFailed(message) from error

    def alive(self) -> list[Server]:
        """Return the servers of which anything still runs."""
        return [server for server in self.read() if family(server)]

    def stop_all(self) -> list[Server]:
        """Stop them, the last started first; return those of which anything was still running."""
        alive = self.alive()
        for server in reversed(alive):
            stop(server)
        self._file.unlink(missing_ok=True)
        return alive
