"""The daemon: starts the loops, and takes everything down in order when it is told to go."""

import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from queue import Empty, SimpleQueue
from typing import Final

import structlog

from launcher.daemon.heartbeat import HeartbeatLoop
from launcher.daemon.supervision import ALIVE, NOBODY, READY, STOPPING, Supervision
from launcher.orders.admission import Admission
from launcher.orders.assignments import Runs
from shared.exit_codes import INTERRUPTED
from shared.signals import heeded

Loop = Callable[[], None]

CLOSED: Final = "closed"
DONE: Final = "done"
"""As many orders were taken as were to be, and whichever still runs needs no watching."""
FAILED: Final = "a loop failed"
DEADLINE: Final = "the time is over"
LEAVE_SECONDS: Final = 20.0
"""How long the way down waits for orders whose machines are left running: as long as a request under way may take."""
STOP_SECONDS: Final = 120.0
"""How long the way down waits for orders whose machines are stopped and handed back: as long as a lease and a stop."""
LAST_SECONDS: Final = 5.0
"""How long the way down waits once everything is hurried. What is left then is on the disk for the next daemon."""
SIGNAL_SECONDS: Final = 1.0
"""How long the main thread waits at most. A signal that comes just before, or that another thread is given, does not
end the wait, and Python's handler runs only after it."""

log = structlog.get_logger()


class Events:
    """What the daemon's main thread waits for: signals, a loop's failure, and the end."""

    def __init__(self) -> None:
        self.failed = False
        """Whether a loop failed, at any time."""
        self._queue: SimpleQueue[str] = SimpleQueue()
        self._told = False

    def hear_signals(self) -> None:
        for number in (signal.SIGINT, *heeded()):
            signal.signal(number, lambda heard, _frame: self.put(signal.Signals(heard).name))

    def put(self, event: str) -> None:
        self.failed = self.failed or event == FAILED
        self._queue.put(event)

    def get(self, seconds: float = inf) -> str:
        """Wait for the next; DEADLINE where none came within `seconds`."""
        while seconds > 0:
            event = self._wait(min(seconds, SIGNAL_SECONDS))
            if event == DEADLINE:
                seconds -= SIGNAL_SECONDS
            elif event != DONE or not self._told:  # whatever came first, it goes already
                self._told = True
                return event
        return DEADLINE

    def _wait(self, seconds: float) -> str:
        try:
            return self._queue.get(timeout=seconds)
        except Empty:
            return DEADLINE


@dataclass(frozen=True, slots=True)
class Daemon:
    """`adopt` goes on with what an earlier daemon left; `intake` takes orders until admission closes.

    Not `attended`: what runs is left running, and told to go the daemon waits for nothing else.
    """

    adopt: Loop
    admission: Admission
    runs: Runs
    intake: Loop
    heartbeat: HeartbeatLoop
    drain_seconds: float
    attended: bool = True
    supervision: Supervision = NOBODY

    def run(self, events: Events) -> int:
        """Run orders until the first event, then drain: finish what is held, or leave it to the next daemon.

        A second signal has everything stopped and handed back, a third hurries that. Where a loop fails, machines are
        left running at once: the daemon is what is broken, not they. Return the exit code.
        """
        over = threading.Event()
        try:
            return self._run(events, over)
        except BaseException:  # nobody keeps what is held any more: it runs on for the next daemon
            over.set()
            self.runs.leave()
            self._await_end(LEAVE_SECONDS)
            raise

    def _run(self, events: Events, over: threading.Event) -> int:
        self.adopt()
        loops = (_start(self.intake, "intake", events), _start(lambda: self.heartbeat.run(over), "heartbeat", events))
        self.supervision.tell(READY)
        first = self._next(events)
        self.supervision.tell(STOPPING)
        self.admission.close()
        self.runs.drain()
        log.info("going down", because=first, held=len(self.runs.held()))
        threading.Thread(target=self._close, args=(*loops, over, events), name="close", daemon=True).start()
        last = self._take_leave(first, events)
        if last != CLOSED:
            log.warning("going down at once", because=last)
            self.runs.hurry()
            if not self._await_end(LAST_SECONDS):
                return 1
        log.info("gone")
        return 1 if events.failed else self._code(first)

    def _take_leave(self, first: str, events: Events) -> str:
        if first in (FAILED, DONE):
            return self._leave(events)
        if self.attended:
            return self._drain(events)
        self.runs.part()
        return self._next(events, STOP_SECONDS)

    def _code(self, first: str) -> int:
        interrupted = first == signal.SIGINT.name or (first != DONE and not self.attended)
        return INTERRUPTED if interrupted else 0

    def _drain(self, events: Events) -> str:
        """Wait until nothing is held, but not for ever; return the event that ended this."""
        event = self._next(events, self.drain_seconds)
        if event == CLOSED:
            return event
        if event in (DEADLINE, FAILED):
            return self._leave(events)
        log.warning("stopping", because=event)
        self.runs.close()
        return self._next(events, STOP_SECONDS)

    def _leave(self, events: Events) -> str:
        """Return the next event but for failures: that another loop fails, too, is no reason to stop a machine."""
        self.runs.leave()
        while (event := self._next(events, LEAVE_SECONDS)) == FAILED:
            log.error("another loop failed")
        return event

    def _await_end(self, seconds: float) -> bool:
        """Return whether nothing is held any more within so many seconds; say what is, if it is."""
        if self.runs.await_end(seconds):
            return True
        left = [held.hold.model_dump() for held in self.runs.held()]
        log.error("gone before every order's end: the next daemon goes on with them", left=left)
        return False

    def _next(self, events: Events, seconds: float = inf) -> str:
        """Wait for the next event, and meanwhile tell the supervisor that the daemon lives, as long as it does."""
        every = self.supervision.every or inf
        while (event := events.get(min(seconds, every))) == DEADLINE and seconds > every:
            seconds -= every
            if self.heartbeat.lives():
                self.supervision.tell(ALIVE)
        return event

    def _close(
        self, intake: threading.Thread, heartbeat: threading.Thread, over: threading.Event, events: Events
    ) -> None:
        """Say when nothing is held and nothing more can come."""
        intake.join()  # a claim under way may still bring an order, which is then returned
        self.runs.await_end()
        over.set()
        self.runs.news.set()
        heartbeat.join()
        events.put(CLOSED)


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
