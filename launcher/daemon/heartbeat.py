"""The heartbeat's loop: one request renews all of this launcher's leases, and its answer lists what to stop."""

import threading
from collections.abc import Sequence
from typing import Final

import structlog

from launcher.host.clock import Clock
from launcher.orders.assignment import Assignment, StopReason
from launcher.orders.assignments import Assignments
from launcher.orders.mode import Mode
from launcher.orders.outage import Backoff, Outage
from shared.client import ControlPlane
from shared.client_errors import Refused, Unreachable
from shared.domain.order import State
from shared.log_events import LogEvent
from shared.wire.launchers import HeartbeatAnswer, HeartbeatRequest, Hold

LEASE_FRACTION: Final = 1 / 3
"""A heartbeat is sent after this fraction of the shortest lease: two may fail before it is in danger."""

MAX_SECONDS_WHILE_LIMITED: Final = 2.0
"""The longest time between two heartbeats of a launcher that exits once its orders run: it learns that from them."""
STUCK_SECONDS: Final = 180.0
"""The loop counts as stuck after this time, which exceeds the longest wait plus the longest request."""

log = structlog.get_logger()


class HeartbeatLoop:
    """Sends a heartbeat every `every` seconds, or sooner if a third of a lease has passed before that.

    If leases are not renewed, each assignment stops its own machine before its lease ends. If the mode is not attended,
    the lease of a running order never expires.
    """

    def __init__(
        self,
        control_plane: ControlPlane,
        launcher: str,
        assignments: Assignments,
        every: float,
        outage: Outage,
        clock: Clock,
        mode: Mode = Mode.DAEMON,
    ) -> None:
        self._control_plane, self._launcher, self._assignments = control_plane, launcher, assignments
        self._every = every if mode.attended else min(every, MAX_SECONDS_WHILE_LIMITED)
        self._outage, self._clock, self._mode = outage, clock, mode
        self._backoff = Backoff(clock.jitter)
        self._turned_at = clock.monotonic()

    def is_alive(self) -> bool:
        """Return whether the loop has made progress recently. A slow request does not count against it."""
        return self._clock.monotonic() - self._turned_at < STUCK_SECONDS

    def run(self, over: threading.Event) -> None:
        """Send heartbeats until `over` is set, which the loop checks whenever the assignments change."""
        while not over.is_set():
            self._wait(self._clock.monotonic() + self.beat(), over)

    def beat(self) -> float:
        """Send one heartbeat and return the seconds to wait before the next.

        It is sent even if nothing is held: otherwise a launcher that waits for a bell would not notice an outage.
        """
        asked_at = self._turned_at = self._clock.monotonic()
        try:
            answer = self._send(self._assignments.held())
        except (Unreachable, Refused) as error:
            self._outage.failed(error)
            return min(self._backoff.next(error), self._longest())
        self._outage.answered()
        self._backoff.reset()
        self._apply(answer, asked_at)
        return self._longest()

    def _wait(self, due: float, over: threading.Event) -> None:
        """Wait until the next heartbeat is due: sooner than planned if an order with a short lease comes."""
        while True:
            self._assignments.changed.clear()
            now = self._clock.monotonic()
            due = min(due, now + self._longest())
            if over.is_set() or due <= now:
                return
            self._clock.pause(due - now, self._assignments.changed)

    def _longest(self) -> float:
        """Return the seconds that may pass between two heartbeats."""
        return min(
            [self._every, *(assignment.lease.seconds * LEASE_FRACTION for assignment in self._assignments.held())]
        )

    def _send(self, assignment: Sequence[Assignment]) -> HeartbeatAnswer:
        holds = tuple(one.hold for one in assignment)
        request = HeartbeatRequest(launcher=self._launcher, holds=holds, attended=self._mode.attended)
        return self._control_plane.heartbeat(request)

    def _apply(self, answer: HeartbeatAnswer, asked_at: float) -> None:
        for renewed in answer.renewed:
            if (assignment := self._find(renewed.order_id, renewed.epoch)) is not None:
                running = renewed.state is State.RUNNING
                assignment.renew(asked_at, renewed.lease_seconds, never_expires=running and not self._mode.attended)
                if running:
                    self._assignments.note_running(assignment)
        for stop in answer.stop:
            if (assignment := self._find(stop.order_id, stop.epoch)) is not None:
                log.info(
                    LogEvent.STOP_REQUESTED,
                    message="The control plane asks to stop the machine.",
                    order_id=stop.order_id,
                    epoch=stop.epoch,
                    why=stop.why,
                )
                assignment.stop(StopReason.of(stop.why))

    def _find(self, order_id: str, epoch: int) -> Assignment | None:
        return self._assignments.find(Hold(order_id=order_id, epoch=epoch))
