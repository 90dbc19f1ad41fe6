"""The daemon: starts the loops, and shuts down cleanly after a signal or after a loop's failure."""

import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from math import inf
from queue import Empty, SimpleQueue
from typing import Final

import structlog

from launcher.daemon.heartbeat import HeartbeatLoop
from launcher.daemon.supervision import ALIVE, READY, STOPPING, UNSUPERVISED, Supervision
from launcher.orders.admission import Admission
from launcher.orders.assignments import Assignments, Shutdown
from launcher.orders.mode import Mode
from shared.exit_codes import INTERRUPTED
from shared.log_events import LogEvent
from shared.signals import heeded

Loop = Callable[[], None]


class Occurrence(StrEnum):
    """The events that the daemon's main thread waits for, in addition to signals."""

    ENDED = "everything has ended"
    DONE = "enough orders were taken"
    """The limit was reached, and orders that still run are not attended."""
    LOOP_FAILED = "a loop failed"
    TIMEOUT = "the time is over"


Event = Occurrence | signal.Signals

LEAVE_SECONDS: Final = 20.0
"""How long the shutdown waits for orders whose machines are left running: as long as a request may take."""
STOP_SECONDS: Final = 120.0
"""How long the shutdown waits for orders whose machines are stopped and returned: as long as a lease and a stop."""
LAST_SECONDS: Final = 5.0
"""How long the shutdown waits after everything was hurried. The next daemon finds the rest on the disk."""
SIGNAL_SECONDS: Final = 1.0
"""The longest wait of the main thread. A signal that comes just before a wait, or on another thread, does not end it,
and Python's handler runs only after it."""

log = structlog.get_logger()


class Events:
    """The queue that the daemon's main thread reads: signals, a loop's failure, and the end."""

    def __init__(self) -> None:
        self.failed = False
        """True if a loop has failed at any time."""
        self._queue: SimpleQueue[Event] = SimpleQueue()
        self._going = False

    def receive_signals(self) -> None:
        for number in (signal.SIGINT, *heeded()):
            signal.signal(number, lambda received, _frame: self.put(signal.Signals(received)))

    def put(self, event: Event) -> None:
        self.failed = self.failed or event is Occurrence.LOOP_FAILED
        self._queue.put(event)

    def get(self, seconds: float = inf) -> Event:
        """Wait for the next event; TIMEOUT if none came within `seconds`."""
        while seconds > 0:
            event = self._wait(min(seconds, SIGNAL_SECONDS))
            if event is Occurrence.TIMEOUT:
                seconds -= SIGNAL_SECONDS
            elif event is not Occurrence.DONE or not self._going:  # else it shuts down already, for an earlier event
                self._going = True
                return event
        return Occurrence.TIMEOUT

    def _wait(self, seconds: float) -> Event:
        try:
            return self._queue.get(timeout=seconds)
        except Empty:
            return Occurrence.TIMEOUT


@dataclass(frozen=True, slots=True)
class ShutdownLimits:
    """The longest waits of a shutdown, in seconds."""

    leave: float = LEAVE_SECONDS
    stop: float = STOP_SECONDS
    last: float = LAST_SECONDS


@dataclass(frozen=True, slots=True)
class Daemon:
    """`adopt` continues the orders of an earlier daemon; `intake` takes orders until admission closes."""

    adopt: Loop
    admission: Admission
    assignments: Assignments
    intake: Loop
    heartbeat: HeartbeatLoop
    drain_seconds: float
    mode: Mode = Mode.DAEMON
    supervision: Supervision = UNSUPERVISED
    limits: ShutdownLimits = ShutdownLimits()

    def run(self, events: Events) -> int:
        """Run orders until the first event, then shut down, and return the exit code.

        An attended launcher drains first: it waits until its orders end, and then leaves remaining machines to the next
        daemon. A launcher that is not attended leaves machines whose orders run, and returns the other orders. After a
        second signal, every machine is stopped and its order returned; a third hurries that. If a loop fails, all
        machines are left running at once, because they are not affected.
        """
        over = threading.Event()
        try:
            return self._run(events, over)
        except BaseException:  # heartbeats have stopped, so the machines run on for the next daemon
            over.set()
            self.assignments.shutdown(Shutdown.LEAVE_ALL)
            self._await_end(self.limits.leave)
            raise

    def _run(self, events: Events, over: threading.Event) -> int:
        self.adopt()
        loops = (
            start_loop(self.intake, "intake", events),
            start_loop(lambda: self.heartbeat.run(over), "heartbeat", events),
        )
        self.supervision.notify(READY)
        first = self._next(events)
        self.supervision.notify(STOPPING)
        self.admission.close()
        self.assignments.shutdown(Shutdown.FINISH)
        log.info(
            LogEvent.SHUTDOWN_STARTED,
            message="The launcher takes no more orders and shuts down.",
            because=_name(first),
            held=len(self.assignments.held()),
        )
        threading.Thread(target=self._await_loops, args=(*loops, over, events), name="end", daemon=True).start()
        last = self._part(first, events)
        if last is not Occurrence.ENDED:
            log.warning(
                LogEvent.SHUTDOWN_HURRIED,
                message="The shutdown is cut short: machines being stopped are killed.",
                because=_name(last),
            )
            self.assignments.shutdown(Shutdown.HURRY)
            if not self._await_end(self.limits.last):
                return 1
        log.info(LogEvent.LAUNCHER_STOPPED, message="The launcher has ended.")
        return 1 if events.failed else self._code(first)

    def _part(self, first: Event, events: Events) -> Event:
        """Treat the held orders as the first event demands; return the event that ended that."""
        if first in (Occurrence.LOOP_FAILED, Occurrence.DONE):
            return self._leave(events)
        if self.mode.attended:
            return self._drain(events)
        self.assignments.shutdown(Shutdown.LEAVE_RUNNING)
        return self._next(events, self.limits.stop)

    def _code(self, first: Event) -> int:
        interrupted = first is signal.SIGINT or (first is not Occurrence.DONE and not self.mode.attended)
        return INTERRUPTED if interrupted else 0

    def _drain(self, events: Events) -> Event:
        """Wait until nothing is held, for `drain_seconds` at most; return the event that ended this."""
        event = self._next(events, self.drain_seconds)
        if event is Occurrence.ENDED:
            return event
        if event in (Occurrence.TIMEOUT, Occurrence.LOOP_FAILED):
            return self._leave(events)
        log.warning(
            LogEvent.MACHINES_STOPPING,
            message="Every machine is stopped, and its order returned.",
            because=_name(event),
        )
        self.assignments.shutdown(Shutdown.RETURN)
        return self._next(events, self.limits.stop)

    def _leave(self, events: Events) -> Event:
        """Leave all machines running; return the next event other than a failure, which does not stop machines."""
        self.assignments.shutdown(Shutdown.LEAVE_ALL)
        while (event := self._next(events, self.limits.leave)) is Occurrence.LOOP_FAILED:
            log.error(LogEvent.LOOP_FAILED, message="Another loop of the launcher failed during the shutdown.")
        return event

    def _await_end(self, seconds: float) -> bool:
        """Wait for this number of seconds until nothing is held; return whether nothing is, and log what still is."""
        if self.assignments.await_end(seconds):
            return True
        log.error(
            LogEvent.ORDERS_LEFT_AT_EXIT,
            message="The launcher ends before all its orders have ended: the next daemon continues with them.",
            left=[one.hold.model_dump() for one in self.assignments.held()],
        )
        return False

    def _next(self, events: Events, seconds: float = inf) -> Event:
        """Wait for the next event. Meanwhile, notify the supervisor while the heartbeat's loop is alive."""
        every = self.supervision.every or inf
        while (event := events.get(min(seconds, every))) is Occurrence.TIMEOUT and seconds > every:
            seconds -= every
            if self.heartbeat.is_alive():
                self.supervision.notify(ALIVE)
        return event

    def _await_loops(
        self, intake: threading.Thread, heartbeat: threading.Thread, over: threading.Event, events: Events
    ) -> None:
        """Put ENDED once nothing is held and no more orders can come."""
        intake.join()  # a claim under way may still bring an order, which is then returned
        self.assignments.await_end()
        over.set()
        self.assignments.changed.set()
        heartbeat.join()
        events.put(Occurrence.ENDED)


def start_loop(loop: Loop, name: str, events: Events) -> threading.Thread:
    """Run a loop on a thread. If the loop fails, the daemon shuts down, and its supervisor starts it again."""

    def guarded() -> None:
        failed = True
        try:
            loop()
            failed = False
        finally:
            if failed:
                events.put(Occurrence.LOOP_FAILED)

    thread = threading.Thread(target=guarded, name=name, daemon=True)
    thread.start()
    return thread


def _name(event: Event) -> str:
    return event.value if isinstance(event, Occurrence) else event.name
