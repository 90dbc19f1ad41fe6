"""The daemon: starts the loops, and takes everything down in order when it is told to go."""

import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Final

import structlog

from launcher.heartbeat import HeartbeatLoop
from launcher.runs import Runs
from launcher.slots import Slots

Loop = Callable[[], None]

CLOSED: Final = "closed"
FAILED: Final = "a loop failed"

log = structlog.get_logger()


class Events:
    """What the daemon's main thread waits for: signals, a loop's failure, and the end."""

    def __init__(self) -> None:
        self._queue: SimpleQueue[str] = SimpleQueue()

    def hear_signals(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda heard, _frame: self.put(signal.Signals(heard).name))

    def put(self, event: str) -> None:
        self._queue.put(event)

    def get(self) -> str:
        return self._queue.get()


@dataclass(frozen=True, slots=True)
class Daemon:
    """`intake` takes orders until the slots close."""

    slots: Slots
    runs: Runs
    intake: Loop
    heartbeat: HeartbeatLoop

    def run(self, events: Events) -> int:
        """Run orders until the first event, then hand them back; a second one hurries that. Return the exit code."""
        over = threading.Event()
        intake = _start(self.intake, "intake", events)
        heartbeat = _start(lambda: self.heartbeat.run(over), "heartbeat", events)
        first = events.get()
        log.info("going down", because=first)

        def close() -> None:
            self.slots.close()
            self.runs.close()
            intake.join()  # a claim under way may still bring an order, which is then returned
            self.runs.await_end()
            over.set()
            heartbeat.join()
            events.put(CLOSED)

        threading.Thread(target=close, name="close", daemon=True).start()
        if (second := events.get()) != CLOSED:
            log.warning("going down at once", because=second)
            self.runs.hurry()
            self.runs.await_end()
        log.info("gone")
        return 1 if first == FAILED else 0


def _start(loop: Loop, name: str, events: Events) -> threading.Thread:
    """Run a loop on a thread; one that fails takes the daemon down, rather than leave it deaf."""

    def guarded() -> None:
        failed = True
        try:
            loop()
            failed = False
        finally:
            if failed:
                events.put(FAILED)

    thread = threading.Thread(target=guarded, name=name, daemon=True)
    thread.start()
    return thread
