"""Ends the reading of bodies that come too slowly.

A deadline ends the reading on the connection itself, because the servers' own reads return only once they have all that
was asked for.
"""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Final

from functions.domain.refusals import Refusal
from functions.http.parsing import BODY_SECONDS, BodyTooSlow

CROWDED_SECONDS: Final = 0.5
"""How long a body may take while many bodies are awaited."""
POLL_SECONDS: Final = 0.2
"""The time between two checks of the bodies that are awaited."""


@dataclass(slots=True)
class Awaited:
    """A body that is being read: since when, in seconds, and whether its time is over."""

    since: float
    overdue: bool = False


@dataclass
class BodyDeadline:
    """The bodies that are being read in this process. From `crowd` of them on, each has less time.

    A body holds a thread, so `crowd` is less than the number of threads.
    """

    crowd: int
    clock: Callable[[], float] = time.monotonic
    _awaited: dict[socket.socket, Awaited] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _watching: bool = False

    @contextmanager
    def over(self, connection: socket.socket) -> Iterator[None]:
        """Hold what reads a body of this connection to the deadline. Raises BodyTooSlow at the end if it has passed."""
        awaited = Awaited(self.clock())
        with self._lock:
            if not self._watching:
                threading.Thread(target=self._watch, name="bodies", daemon=True).start()
                self._watching = True
            self._awaited[connection] = awaited
        try:
            yield
        except Refusal:  # of a body that was cut off
            if not awaited.overdue:
                raise
        finally:
            with self._lock:
                del self._awaited[connection]
        if awaited.overdue:
            raise BodyTooSlow

    def end_overdue(self) -> None:
        """End the reading of each body whose time is over."""
        now = self.clock()
        with self._lock:
            allowed = CROWDED_SECONDS if len(self._awaited) >= self.crowd else BODY_SECONDS
            for connection, awaited in self._awaited.items():
                if now - awaited.since >= allowed and not awaited.overdue:
                    awaited.overdue = True
                    with suppress(OSError):
                        connection.shutdown(socket.SHUT_RD)  # the thread that reads sees the end of the stream

    def _watch(self) -> None:
        """Look at the awaited bodies again and again, until there are none."""
        pause = threading.Event()
        while True:
            pause.wait(POLL_SECONDS)
            self.end_overdue()
            with self._lock:
                if not self._awaited:
                    self._watching = False
                    return
