"""The heartbeat's loop: one request renews everything this launcher holds, and its answer says what to stop."""

import threading
from collections.abc import Sequence
from typing import Final

import structlog

from launcher.host.clock import Clock
from launcher.orders.assignment import Held, Wish
from launcher.orders.assignments import Runs
from launcher.orders.outage import Backoff, Outage
from shared.client import ControlPlane, Refused, Unreachable
from shared.domain.order import State
from shared.wire.launchers import HeartbeatAnswer, HeartbeatRequest, Hold

PART: Final = 1 / 3
"""Of the shortest lease: so two heartbeats may fail before it is in danger."""

STUCK_SECONDS: Final = 180.0
"""More than the longest wait between two heartbeats, and the longest that one takes to be given up."""

log = structlog.get_logger()


class HeartbeatLoop:
    """`every` is in seconds, and the most: a lease is renewed when a third of it is over.

    Each run itself stops its machine before a lease that is not renewed ends. Not `attended`: it has no end any more
    once the order runs, and the machine may be left to itself.
    """

    def __init__(
        self,
        control_plane: ControlPlane,
        launcher: str,
        runs: Runs,
        every: float,
        outage: Outage,
        clock: Clock,
        attended: bool = True,
    ) -> None:
        self._control_plane, self._launcher, self._runs = control_plane, launcher, runs
        self._every, self._outage, self._clock, self._attended = every, outage, clock, attended
        self._backoff = Backoff(clock.jitter)
        self._turned_at = clock.monotonic()

    def lives(self) -> bool:
        """Return whether the loop still turns, as far as can be told: a request may take its time."""
        return self._clock.monotonic() - self._turned_at < STUCK_SECONDS

    def run(self, over: threading.Event) -> None:
        """Send heartbeats until `over`, which is looked at whenever there is news."""
        while not over.is_set():
            self._wait(self._clock.monotonic() + self.beat(), over)

    def beat(self) -> float:
        """Send one heartbeat and return the seconds to wait before the next.

        It is sent although nothing is held, too: a launcher that waits for a bell would not know that it is cut off.
        """
        asked_at = self._turned_at = self._clock.monotonic()
        try:
            answer = self._send(self._runs.held())
        except (Unreachable, Refused) as error:
            self._outage.goes_on(error)
            return min(self._backoff.next(), self._longest())
        self._outage.ends()
        self._backoff.reset()
        self._obey(answer, asked_at)
        return self._longest()

    def _wait(self, due: float, over: threading.Event) -> None:
        """Wait until the next heartbeat is due: sooner than it was, where an order came whose lease is short."""
        while True:
            self._runs.news.clear()
            now = self._clock.monotonic()
            due = min(due, now + self._longest())
            if over.is_set() or due <= now:
                return
            self._clock.pause(due - now, self._runs.news)

    def _longest(self) -> float:
        """Return the seconds that may pass between two heartbeats."""
        return min([self._every, *(held.lease.seconds * PART for held in self._runs.held())])

    def _send(self, held: Sequence[Held]) -> HeartbeatAnswer:
        holds = tuple(one.hold for one in held)
        request = HeartbeatRequest(launcher=self._launcher, holds=holds, attended=self._attended)
        return self._control_plane.heartbeat(request)

    def _obey(self, answer: HeartbeatAnswer, asked_at: float) -> None:
        for renewed in answer.renewed:
            if (held := self._find(renewed.order_id, renewed.epoch)) is not None:
                running = renewed.state is State.RUNNING
                held.renew(asked_at, renewed.lease_seconds, endless=running and not self._attended)
                if running:
                    self._runs.fulfilled(held)
        for stop in answer.stop:
            if (held := self._find(stop.order_id, stop.epoch)) is not None:
                log.info("asked to stop", order_id=stop.order_id, epoch=stop.epoch, why=stop.why)
                held.ask(Wish.of(stop.why))

    def _find(self, order_id: str, epoch: int) -> Held | None:
        return self._runs.find(Hold(order_id=order_id, epoch=epoch))
