"""A process that is started again whenever it was killed; its first lives may be armed to end at a crash point."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, repeat
from pathlib import Path
from typing import Final

from shared.crash_points import Point

ROOT: Final = Path(__file__).parents[2]
KILLED: Final = -signal.SIGKILL


@dataclass(frozen=True, slots=True)
class Program:
    """What to run. Its output goes to `log`, that of all its lives."""

    argv: Sequence[str]
    environment: Mapping[str, str]
    log: Path

    def start(self, point: Point | None) -> "subprocess.Popen[bytes]":
        armed = ("--point", point.name) if point else ()
        with self.log.open("ab") as out:
            return subprocess.Popen(
                [sys.executable, "-m", *self.argv, *armed],
                cwd=ROOT,
                env={**os.environ, **self.environment},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )


@dataclass(frozen=True, slots=True)
class Death:
    """A life that ended untold: where it was to end (None: nowhere, it was killed from outside), and its exit code."""

    point: Point | None
    code: int


class Lives:
    """`armed` says of the first lives where each is to end, None being by `kill`; later ones are to go on."""

    def __init__(self, program: Program, armed: Sequence[Point | None] = ()) -> None:
        self.armed = armed
        self.deaths: list[Death] = []
        self.died = threading.Event()
        """All lives that were to end have ended."""
        self._program = program
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._points = chain(armed, repeat(None))
        self._point: Point | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._live)

    @property
    def as_armed(self) -> bool:
        """Whether each life that was to end was killed, where it was to be, and no other."""
        return self.deaths == [Death(point, KILLED) for point in self.armed]

    def begin(self) -> None:
        """Start the first life; it is there when this returns."""
        self._start_next()
        self._thread.start()

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the present life."""
        with self._lock:
            if self._process is not None:
                self._process.send_signal(number)

    def end(self) -> None:
        """Kill the present life, and start no other."""
        with self._lock:
            self._over.set()
            if self._process is not None:
                self._process.kill()
        self._thread.join()

    def _live(self) -> None:
        while (process := self._process) is not None:
            code = process.wait()
            if self._over.is_set():
                return
            self.deaths.append(Death(self._point, code))
            if len(self.deaths) == len(self.armed):
                self.died.set()
            if code != KILLED:  # it would end so for ever
                return
            self._start_next()

    def _start_next(self) -> None:
        with self._lock:
            if not self._over.is_set():
                self._point = next(self._points)
                self._process = self._program.start(self._point)
