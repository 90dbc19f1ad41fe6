"""What the local stack started: written as it starts, so that whatever happens, `down` stops exactly that."""

from pathlib import Path
from typing import Final

from pydantic import TypeAdapter, ValidationError

from emulators.processes import Server, StartFailed, running, stop

FILE: Final = "stack.json"
SERVERS: Final = TypeAdapter(list[Server])


class Record:
    """The servers of the stack whose state is in the folder `home`, in the order they were started."""

    def __init__(self, home: Path) -> None:
        self._file = home / FILE

    def add(self, server: Server) -> None:
        self._write([*self.read(), server])

    def read(self) -> list[Server]:
        """Raises StartFailed where the file is not one of ours."""
        try:
            return SERVERS.validate_json(self._file.read_bytes())
        except FileNotFoundError:
            return []
        except ValidationError as error:
            raise StartFailed(
                f"{self._file} cannot be read: stop the stack's processes by hand, and remove it."
            ) from error

    def alive(self) -> list[Server]:
        return [server for server in self.read() if running(server)]

    def stop_all(self) -> list[Server]:
        """Stop them, the last started first; return those that were still running."""
        alive = self.alive()
        for server in reversed(alive):
            stop(server)
        self._file.unlink(missing_ok=True)
        return alive

    def _write(self, servers: list[Server]) -> None:
        self._file.parent.mkdir(parents=True, exist_ok=True)
        partial = self._file.with_suffix(".partial")
        partial.write_bytes(SERVERS.dump_json(servers, indent=2))
        partial.replace(self._file)
