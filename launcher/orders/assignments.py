"""The orders in this launcher's hands, each with a thread of its own."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum, auto
from math import inf

import structlog

from launcher.host.clock import Clock
from launcher.machines.records import VmLease
from launcher.orders.admission import Admission, Reservation
from launcher.orders.assignment import Assignment, StopReason
from shared.crash_points import Point, reach
from shared.domain.spec import CapacitySpec
from shared.log_events import LogEvent
from shared.wire.launchers import Claimed, Hold

Run = Callable[[Assignment, Claimed], None]
Resume = Callable[[Assignment], None]

log = structlog.get_logger()


class Shutdown(Enum):
    """How a shutdown treats held orders. Under every policy, an order that still comes is returned."""

    FINISH = auto()
    """They go on to their ends."""
    RETURN = auto()
    """Their machines are stopped, and the orders returned."""
    LEAVE_RUNNING = auto()
    """Machines whose orders run are left running; the others are stopped, and their orders returned."""
    LEAVE_ALL = auto()
    """All machines are left running, for the next daemon to adopt."""
    HURRY = auto()
    """An earlier policy is cut short: machines that are being stopped are killed, unanswered reports are given up."""


class Assignments:
    """Starts, finds and ends assignments, each on its own thread. `announce` prints a line for the person who started
    the launcher.
    """

    def __init__(
        self, run: Run, admission: Admission, clock: Clock, announce: Callable[[str], None] = lambda _line: None
    ) -> None:
        self.changed = threading.Event()
        """Set when an order comes: its lease may need an earlier heartbeat than was planned."""
        self.lost = 0
        """How many orders ended before they ran."""
        self._run, self._admission, self._clock, self._announce = run, admission, clock, announce
        self._condition = threading.Condition()
        self._held: dict[Hold, Assignment] = {}
        self._draining = False

    def begin(self, claimed: Claimed, reservation: Reservation, asked_at: float) -> None:
        """Run an order in its reserved room, which is freed at its end. An order that is already held is not run twice.

        `asked_at` is the monotonic time just before it was claimed.
        """
        reach(Point.LAUNCHER_CLAIMED)
        hold = Hold(order_id=claimed.order_id, epoch=claimed.epoch)
        lease = VmLease(ends=asked_at + claimed.lease_seconds, seconds=claimed.lease_seconds)
        assignment = Assignment(hold, lease, self._clock.monotonic)
        assignment.note_started = lambda: self._admission.note_started(reservation)
        with self._condition:
            known = hold in self._held
            if not known:
                self._held[hold] = assignment
            if self._draining:
                assignment.stop(StopReason.GOING_DOWN)
        if known:
            self._admission.free(reservation)
            return
        with self._forgotten_unless_started(assignment, reservation):
            log.info(LogEvent.ORDER_CLAIMED, message="Claimed the order.", **hold.model_dump(), kind=claimed.spec.kind)
            self._announce(_claimed(claimed))
            self._admission.fill(reservation, hold)
            self._start(assignment, reservation, lambda assignment: self._run(assignment, claimed))

    def resume(
        self,
        hold: Hold,
        lease: VmLease,
        reservation: Reservation,
        run: Resume,
        running: bool = False,
        ending: bool = False,
    ) -> None:
        """Continue an order that an earlier daemon held; `running` and `ending` are as in `Assignment`."""
        assignment = Assignment(hold, self._of_this_boot(lease), self._clock.monotonic)
        assignment.running, assignment.ending = running, ending
        with self._condition:
            self._held[hold] = assignment
        with self._forgotten_unless_started(assignment, reservation):
            self._start(assignment, reservation, run)

    def held(self) -> tuple[Assignment, ...]:
        with self._condition:
            return tuple(self._held.values())

    def find(self, hold: Hold) -> Assignment | None:
        with self._condition:
            return self._held.get(hold)

    def note_running(self, assignment: Assignment) -> None:
        """Record that the order runs, according to the control plane."""
        with self._condition:
            known, assignment.running = assignment.running, True
            self._condition.notify_all()
        if not known:
            self._announce(f"[launcher] order={assignment.hold.order_id} fulfilled vm={assignment.vm}")

    def booting(self) -> int:
        """Return the number of held orders that have not run yet and are not being stopped."""
        return sum(not one.running and not one.ending for one in self.held())

    def await_settled(self) -> None:
        """Wait until every held order runs, and none of them must be stopped."""
        with self._condition:
            self._condition.wait_for(
                lambda: all(one.running and not one.interrupted.is_set() for one in self._held.values())
            )

    def shutdown(self, policy: Shutdown) -> None:
        """Treat held orders by this policy, and return orders that still come. A later call may be stricter."""
        with self._condition:
            self._draining = True
        for one in self.held():
            match policy:
                case Shutdown.FINISH:
                    pass
                case Shutdown.HURRY:
                    one.hurry()
                case Shutdown.LEAVE_ALL:
                    one.leave()
                case Shutdown.LEAVE_RUNNING if one.running:
                    one.leave()
                case Shutdown.LEAVE_RUNNING | Shutdown.RETURN:
                    one.stop(StopReason.GOING_DOWN)

    def await_end(self, seconds: float = inf) -> bool:
        """Wait up to this number of seconds until nothing is held; return whether nothing is."""
        with self._condition:
            return self._condition.wait_for(lambda: not self._held, None if seconds == inf else seconds)

    def _of_this_boot(self, lease: VmLease) -> VmLease:
        """Return the lease, or an ended one if it was recorded in an earlier boot: then it has more left than its
        length.

        Remote machines outlive this host's boots.
        """
        if lease.never_expires or lease.ends - self._clock.monotonic() <= lease.seconds:
            return lease
        return lease.model_copy(update={"ends": 0.0})

    @contextmanager
    def _forgotten_unless_started(self, assignment: Assignment, reservation: Reservation) -> Iterator[None]:
        """Forget an order whose thread does not start: otherwise the shutdown would wait for it."""
        try:
            yield
        except BaseException:
            self._forget(assignment, reservation)
            raise

    def _start(self, assignment: Assignment, reservation: Reservation, run: Resume) -> None:
        """Start the order's thread. Raises RuntimeError if this host has no thread left."""
        self.changed.set()
        name = f"order-{assignment.hold.order_id}"
        # A daemon thread: one that hangs must not keep the process, whose next start adopts the machine.
        thread = threading.Thread(
            target=self._until_the_end, args=(assignment, reservation, run), name=name, daemon=True
        )
        thread.start()

    def _until_the_end(self, assignment: Assignment, reservation: Reservation, run: Resume) -> None:
        try:
            run(assignment)
        finally:
            self._forget(assignment, reservation)

    def _forget(self, assignment: Assignment, reservation: Reservation) -> None:
        assignment.close()
        with self._condition:
            del self._held[assignment.hold]
            self.lost += not assignment.running and not assignment.ending
            self._condition.notify_all()
        self._admission.free(reservation)


def _claimed(claimed: Claimed) -> str:
    spec = claimed.spec
    what = f"dc={spec.datacenter} size={spec.node_size}" if isinstance(spec, CapacitySpec) else f"kind={spec.kind}"
    return f"[launcher] claimed order={claimed.order_id} {what}"
