"""The orders in this launcher's hands, each with a thread of its own."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import inf

import structlog

from launcher.host.clock import Clock
from launcher.machines.records import VmLease
from launcher.orders.admission import Admission, Reservation
from launcher.orders.assignment import Held, Wish
from shared.crash_points import Point, reach
from shared.domain.spec import CapacitySpec
from shared.wire.launchers import Claimed, Hold

Run = Callable[[Held, Claimed], None]
Resume = Callable[[Held], None]

log = structlog.get_logger()


class Runs:
    """`say` tells whoever started the launcher."""

    def __init__(
        self, run: Run, admission: Admission, clock: Clock, say: Callable[[str], None] = lambda _line: None
    ) -> None:
        self.news = threading.Event()
        """Set when an order comes: its lease may ask for an earlier heartbeat than was planned."""
        self.lost = 0
        """How many orders ended before they ran."""
        self._run, self._admission, self._clock, self._say = run, admission, clock, say
        self._changed = threading.Condition()
        self._held: dict[Hold, Held] = {}
        self._draining = False

    def begin(self, claimed: Claimed, reservation: Reservation, asked_at: float) -> None:
        """Run an order in the room reserved for it, which is freed at its end. One held already is not run twice.

        `asked_at` is the monotonic time just before it was claimed.
        """
        reach(Point.LAUNCHER_CLAIMED)
        hold = Hold(order_id=claimed.order_id, epoch=claimed.epoch)
        lease = VmLease(ends=asked_at + claimed.lease_seconds, seconds=claimed.lease_seconds)
        held = Held(hold, lease, self._clock.monotonic)
        with self._changed:
            known = hold in self._held
            if not known:
                self._held[hold] = held
            if self._draining:
                held.ask(Wish.GOING_DOWN)
        if known:
            self._admission.free(reservation)
            return
        with self._forgotten_unless_started(held, reservation):
            log.info("order claimed", **hold.model_dump(), kind=claimed.spec.kind)
            self._say(_claimed(claimed))
            self._admission.fill(reservation, hold)
            self._start(held, reservation, lambda held: self._run(held, claimed))

    def resume(
        self,
        hold: Hold,
        lease: VmLease,
        reservation: Reservation,
        run: Resume,
        runs: bool = False,
        spent: bool = False,
    ) -> None:
        """Go on with an order that an earlier daemon held; `runs` and `spent` are as in `Held`."""
        held = Held(hold, self._of_this_boot(lease), self._clock.monotonic)
        held.runs, held.spent = runs, spent
        with self._changed:
            self._held[hold] = held
        with self._forgotten_unless_started(held, reservation):
            self._start(held, reservation, run)

    def held(self) -> tuple[Held, ...]:
        with self._changed:
            return tuple(self._held.values())

    def find(self, hold: Hold) -> Held | None:
        with self._changed:
            return self._held.get(hold)

    def fulfilled(self, held: Held) -> None:
        """Note that an order runs."""
        with self._changed:
            known, held.runs = held.runs, True
            self._changed.notify_all()
        if not known:
            self._say(f"[launcher] order={held.hold.order_id} fulfilled vm={held.vm}")

    def booting(self) -> int:
        """Return how many orders are held that do not run yet, and are to."""
        return sum(not held.runs and not held.spent for held in self.held())

    def await_settled(self) -> None:
        """Return when all that are held run, and none of them is to be stopped."""
        with self._changed:
            self._changed.wait_for(lambda: all(held.runs and held.wish is None for held in self._held.values()))

    def drain(self) -> None:
        """Have orders that still come returned; those held go on."""
        with self._changed:
            self._draining = True

    def close(self) -> None:
        """Have every machine stopped and its order returned."""
        self.drain()
        for held in self.held():
            held.ask(Wish.GOING_DOWN)

    def part(self) -> None:
        """Have what runs run on without this daemon, and the rest stopped and its orders returned."""
        self.drain()
        for held in self.held():
            if held.runs:
                held.leave()
            else:
                held.ask(Wish.GOING_DOWN)

    def leave(self) -> None:
        """Have every machine run on without this daemon."""
        self.drain()
        for held in self.held():
            held.leave()

    def hurry(self) -> None:
        for held in self.held():
            held.hurry()

    def await_end(self, seconds: float = inf) -> bool:
        """Wait up to so many seconds until nothing is held; return whether that came."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._held, None if seconds == inf else seconds)

    def _of_this_boot(self, lease: VmLease) -> VmLease:
        """One with more left than it was given for counts on another boot's clock, and may be over.

        Machines elsewhere outlive this host's boots.
        """
        if lease.endless or lease.ends - self._clock.monotonic() <= lease.seconds:
            return lease
        return lease.model_copy(update={"ends": 0.0})

    @contextmanager
    def _forgotten_unless_started(self, held: Held, reservation: Reservation) -> Iterator[None]:
        """Forget an order whose thread does not start: nobody else would, and the way down waits for what is held."""
        try:
            yield
        except BaseException:
            self._forget(held, reservation)
            raise

    def _start(self, held: Held, reservation: Reservation, run: Resume) -> None:
        """Raises RuntimeError if this host has no thread left."""
        self.news.set()
        name = f"run-{held.hold.order_id}"
        # A thread that hangs must not keep the process: its machine is on the disk for the next daemon.
        threading.Thread(target=self._until_the_end, args=(held, reservation, run), name=name, daemon=True).start()

    def _until_the_end(self, held: Held, reservation: Reservation, run: Resume) -> None:
        try:
            run(held)
        finally:
            self._forget(held, reservation)

    def _forget(self, held: Held, reservation: Reservation) -> None:
        held.close()
        with self._changed:
            del self._held[held.hold]
            self.lost += not held.runs and not held.spent
            self._changed.notify_all()
        self._admission.free(reservation)


def _claimed(claimed: Claimed) -> str:
    spec = claimed.spec
    what = f"dc={spec.datacenter} size={spec.node_size}" if isinstance(spec, CapacitySpec) else f"kind={spec.kind}"
    return f"[launcher] claimed order={claimed.order_id} {what}"
