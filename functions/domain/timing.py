"""When an order needs the sweep: for its next bell, its limits, the end of its lease, the removal of its output."""

import zlib
from datetime import datetime, timedelta
from typing import Final

from functions.domain.events import AnyEvent, BootTimeout, Discard, Expire, Lapse, Ring, RunTimeout, Stop, TtlPassed
from functions.domain.order import (
    FIRST_RING_INTERVAL,
    LAPSE_MARGIN,
    MAX_RING_INTERVAL,
    Order,
    is_task_image,
    output_prefixes,
    uploads_for,
)
from shared.domain.order import State
from shared.domain.spec import OrderKind

FIRST_BACKOFF: Final = timedelta(seconds=10)
MAX_BACKOFF: Final = timedelta(minutes=10)
SPREAD: Final = 0.25
"""The largest random extension of a wait, as a fraction, so that orders that failed together do not return together.
"""
MIN_BOOT_WITHOUT_HEARTBEATS: Final = timedelta(minutes=30)
"""The minimum boot limit of an order that is not attended: a person may build its machine by hand."""
STOP_PATIENCE: Final = timedelta(seconds=60)
"""How long a session's launcher may take to stop it: up to 30 s until it polls, 5 s from SIGTERM to SIGKILL, and the
rest. A launcher that does not have the session reports nothing.
"""


def due_event(order: Order, now: datetime, request_id: str) -> AnyEvent | None:
    """Return the event that the sweep must apply to the order now; None if its `due_at` has not passed."""
    if order.due_at is None or order.due_at > now:
        return None
    if order.final:
        return Discard(request_id)
    if order.lease is not None:
        if (stop_at := _stop_at(order)) is not None and stop_at <= now:
            return Stop(request_id, order.epoch, order.lease.launcher)
        return limit_passed(order, now, request_id) or Lapse(request_id, order.epoch)
    return Expire(request_id) if order.expires_at <= now else Ring(request_id)


def due_at(order: Order, event: AnyEvent, now: datetime) -> datetime | None:
    """Return when the sweep must look at the order next, after `event`; None if never."""
    if order.final:
        return _discard_at(order, now)
    if order.lease is not None:
        lapse_at = order.lease.until + LAPSE_MARGIN if order.lease_expires else None
        ends = [_limit_at(order), _stop_at(order), lapse_at]
        return min((end for end in ends if end is not None), default=None)
    if not isinstance(event, Ring):
        return min(order.expires_at, order.available_at)
    # Each wait for a bell is twice the last, so that an unclaimed order does not fill the subscription with bells.
    return min(order.expires_at, now + min(max(now - order.available_at, FIRST_RING_INTERVAL), MAX_RING_INTERVAL))


def limit_passed(order: Order, now: datetime, request_id: str) -> BootTimeout | RunTimeout | TtlPassed | None:
    """Return the event for the limit that a held order has passed; None if it has passed none."""
    limit_at = _limit_at(order)
    if limit_at is None or now < limit_at:
        return None
    if order.state is not State.RUNNING:
        return BootTimeout(request_id, order.epoch)
    return (TtlPassed if order.kind is OrderKind.CAPACITY else RunTimeout)(request_id, order.epoch)


def backoff(nth: int, spread: float = 0) -> timedelta:
    """Return how long an order waits after its nth failure: 10 s, doubled each time up to 10 minutes, plus the spread.

    `spread`, from 0 to 1, adds up to a quarter of the wait.
    """
    return min(FIRST_BACKOFF * (1 << min(max(nth - 1, 0), 10)), MAX_BACKOFF) * (1 + SPREAD * spread)


def backoff_of(order: Order, nth: int) -> timedelta:
    """Return the backoff, with a spread that differs between orders and between attempts."""
    return backoff(nth, zlib.crc32(f"{order.id}/{order.epoch}".encode()) / (1 << 32))


def _discard_at(order: Order, now: datetime) -> datetime | None:
    """Return when to remove an ended order's output: after its retention, and again once no upload can begin."""
    if not output_prefixes(order):
        return None
    if order.discarded_at is None:
        return now + order.limits.keep
    last = order.entered[order.state] + uploads_for(order)
    return last if now < last else None


def _stop_at(order: Order) -> datetime | None:
    """Return when a held session that is to stop counts as stopped, if nobody renews its lease."""
    if order.kind is not OrderKind.SESSION or order.attended or order.cancel_requested_at is None:
        return None
    return order.cancel_requested_at + STOP_PATIENCE


def _limit_at(order: Order) -> datetime | None:
    """Return when the limit of a held order's state passes."""
    if order.state is State.RUNNING:
        return None if order.limits.run is None else order.entered[State.RUNNING] + order.limits.run
    boot = order.limits.boot if order.attended else max(order.limits.boot, MIN_BOOT_WITHOUT_HEARTBEATS)
    # A cloud creates a task's machine, perhaps at the second try: its time counts from the launcher's own report.
    return order.entered[order.state if is_task_image(order.spec) else State.CLAIMED] + boot
