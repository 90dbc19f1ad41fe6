"""Keeps a machine's logs bounded, even if the machine outlives the process that started it.

Run as a script, it becomes the machine's program, whose output then goes through a pipe to a writer of its own: a
process that keeps the end of what it reads, and that ends when the pipe is closed. It imports only the standard
library: there is one for each machine, about 9 MiB large.
"""

import fcntl
import os
import select
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

CONSOLE: Final = 3
"""The descriptor on which the machine's program finds a second log, beside its output: a guest's serial console."""
LOCK: Final = 4
CHUNK: Final = 1 << 16
SCRIPT: Final = (sys.executable, "-I", "-S", str(Path(__file__).absolute()))
WRITE, RUN = "write", "run"


def command(program: Sequence[str], limit: int, output: Path, console: Path | None = None) -> tuple[str, ...]:
    """Return the argv that becomes `program`, an absolute path and its arguments, with logs of `limit` bytes at most.

    While a log's writer lives, it holds a lock (flock(2), shared) on the folder of `output`.
    """
    logs = [str(log.absolute()) for log in (output, console) if log is not None]
    return (*SCRIPT, RUN, str(limit), str(len(logs)), *logs, *program)


class BoundedLog:
    """A file that keeps at least the last half of its limit: it is cut at its beginning, and always exists."""

    def __init__(self, path: Path, limit: int) -> None:
        self._path, self._limit = path, limit
        self._open()

    def write(self, data: bytes) -> None:
        """Append. Data that cannot be written, for example on a full disk, is lost: the machine must not wait."""
        with suppress(OSError):
            if self._size + len(data) > self._limit:
                self._cut()
            self._size += os.write(self._file, data)

    def _open(self) -> None:
        self._file = _private(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self._size = os.fstat(self._file).st_size

    def _cut(self) -> None:
        """Raises OSError; then the log is empty."""
        partial = self._path.with_name(f".{self._path.name}.partial")
        try:
            with self._path.open("rb") as whole, open(partial, "wb", opener=_private) as last:
                whole.seek(max(self._size - self._limit // 2, 0))
                whole.readline()  # the rest of a line whose beginning is gone
                while chunk := whole.read(CHUNK):
                    last.write(chunk)
            partial.replace(self._path)
        except OSError:
            os.ftruncate(self._file, 0)
            self._size = 0
            raise
        os.close(self._file)
        self._open()


def _private(path: str | Path, flags: int) -> int:
    """Open a file, and create it with mode 0600 if it does not exist."""
    return os.open(path, flags, 0o600)


def write(limit: int, paths: Sequence[Path]) -> None:
    """Copy standard input and CONSOLE to the logs at these paths until both are closed."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # in a control group that is stopped, it must end last
    logs = {source: BoundedLog(path, limit) for source, path in zip((0, CONSOLE), paths, strict=False)}
    sources = select.poll()
    for source in logs:
        sources.register(source, select.POLLIN)
    open_sources = set(logs)
    while open_sources:
        for source, _ in sources.poll():
            if data := os.read(source, CHUNK):
                logs[source].write(data)
            else:
                sources.unregister(source)
                open_sources.remove(source)


def run(limit: str, logs: Sequence[str], program: Sequence[str]) -> None:
    """Start the writer, in a session and with an environment of its own, and become the program."""
    pipes = [os.pipe() for _ in logs]
    lock = os.open(Path(logs[0]).parent, os.O_RDONLY | os.O_DIRECTORY)
    fcntl.flock(lock, fcntl.LOCK_SH)
    targets = (*zip((reading for reading, _ in pipes), (0, CONSOLE), strict=False), (lock, LOCK))
    actions = [(os.POSIX_SPAWN_DUP2, source, target) for source, target in targets]
    if (between := os.fork()) == 0:  # the writer must not be a child of the machine, which would not reap it
        # Without the machine's mark in its environment: marked processes are killed, and the last output would be lost.
        os.posix_spawn(SCRIPT[0], [*SCRIPT, WRITE, limit, *logs], {}, file_actions=actions, setsid=True)
        os._exit(0)
    if os.waitpid(between, 0)[1] != 0:
        sys.exit("The writer of the machine's logs cannot be started.")
    for descriptor, (_, writing) in zip((1, CONSOLE), pipes, strict=False):
        os.dup2(writing, descriptor)
    os.dup2(1, 2)
    os.execv(program[0], list(program))  # noqa: S606 (no shell is wanted)


def main(arguments: Sequence[str]) -> None:
    what, limit, *rest = arguments
    if what == WRITE:
        write(int(limit), [Path(path) for path in rest])
    else:
        number = int(rest[0]) + 1
        run(limit, rest[1:number], rest[number:])


if __name__ == "__main__":
    main(sys.argv[1:])
