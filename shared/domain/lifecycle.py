"""The rules of an order's life: one table, and the one pure function that reads it.

    queued → claimed → provisioning → running → succeeded | failed | cancelled
       ↑________|____________|___________|      expired (from queued)

Anything sent by, or on behalf of, a holder carries the epoch; one that is not the present one is refused (`LeaseLost`).
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final, assert_never

from shared.domain.events import (
    AnyEvent,
    Cancel,
    Claim,
    EventKind,
    Expire,
    Fail,
    Held,
    Lapse,
    Provision,
    Release,
    Renew,
    Retry,
    Return,
    Ring,
    Start,
    Stop,
    Succeed,
)
from shared.domain.order import (
    FINAL,
    HELD,
    REMEMBERED_REQUESTS,
    RING_AGAIN,
    RING_AT_LEAST,
    Lease,
    Order,
    Reason,
    State,
)
from shared.domain.refusals import LeaseLost, WrongState
from shared.domain.spec import OrderKind

K, S = EventKind, State

RULES: Final[Mapping[tuple[State, EventKind], State]] = {
    (S.QUEUED, K.RING): S.QUEUED,
    (S.QUEUED, K.CLAIM): S.CLAIMED,
    (S.QUEUED, K.CANCEL): S.CANCELLED,
    (S.QUEUED, K.EXPIRE): S.EXPIRED,
    #
    (S.CLAIMED, K.RENEW): S.CLAIMED,
    (S.CLAIMED, K.PROVISION): S.PROVISIONING,
    (S.CLAIMED, K.START): S.RUNNING,  # the worker's report overtook the launcher's
    (S.CLAIMED, K.SUCCEED): S.SUCCEEDED,  # and so did its last
    (S.CLAIMED, K.FAIL): S.FAILED,
    (S.CLAIMED, K.RETRY): S.QUEUED,
    (S.CLAIMED, K.RETURN): S.QUEUED,
    (S.CLAIMED, K.LAPSE): S.QUEUED,
    (S.CLAIMED, K.CANCEL): S.CLAIMED,  # noted; the launcher stops
    (S.CLAIMED, K.STOP): S.CANCELLED,
    #
    (S.PROVISIONING, K.RENEW): S.PROVISIONING,
    (S.PROVISIONING, K.START): S.RUNNING,
    (S.PROVISIONING, K.SUCCEED): S.SUCCEEDED,  # "completed" overtook "started"
    (S.PROVISIONING, K.FAIL): S.FAILED,
    (S.PROVISIONING, K.RETRY): S.QUEUED,
    (S.PROVISIONING, K.RETURN): S.QUEUED,
    (S.PROVISIONING, K.LAPSE): S.QUEUED,
    (S.PROVISIONING, K.CANCEL): S.PROVISIONING,
    (S.PROVISIONING, K.STOP): S.CANCELLED,
    #
    (S.RUNNING, K.RENEW): S.RUNNING,
    (S.RUNNING, K.PROVISION): S.RUNNING,  # the launcher's report comes late, and names the machine
    (S.RUNNING, K.SUCCEED): S.SUCCEEDED,
    (S.RUNNING, K.FAIL): S.FAILED,
    (S.RUNNING, K.RETRY): S.QUEUED,
    (S.RUNNING, K.RETURN): S.QUEUED,
    (S.RUNNING, K.LAPSE): S.QUEUED,
    (S.RUNNING, K.CANCEL): S.RUNNING,
    (S.RUNNING, K.STOP): S.CANCELLED,
    (S.RUNNING, K.RELEASE): S.SUCCEEDED,  # a capacity order given back has done its work
}

BACKOFF_FIRST: Final = timedelta(seconds=10)
BACKOFF_MOST: Final = timedelta(minutes=10)


def advance(order: Order, event: AnyEvent, now: datetime) -> Order:
    """Return the order after `event`, or the same object where the event's request was taken before.

    Raises LeaseLost where the event's epoch or launcher is not the holder's, WrongState where no rule allows it.
    """
    if event.request_id in order.recent:
        return order
    _fence(order, event)
    target = RULES.get((order.state, event.kind))
    if target is None:
        raise WrongState(f"The order is {order.state}; it cannot {event.kind}.", state=order.state)
    _allow(order, event, now)
    changed = _record(order, event, now)
    if target is State.QUEUED and order.state in HELD:
        changed, target = _give_up_or_queue(changed, event, now)
    return _enter(changed, target, event, now)


def due_event(order: Order, now: datetime, request_id: str) -> AnyEvent | None:
    """Return what the sweep owes an order whose `due_at` has passed: None where nothing is due."""
    if order.due_at is None or order.due_at > now:
        return None
    if order.lease is not None:
        return Lapse(request_id=request_id, epoch=order.epoch)
    if order.expires_at <= now:
        return Expire(request_id=request_id)
    return Ring(request_id=request_id)


def backoff(attempt: int) -> timedelta:
    """Return how long an order waits after its nth failed attempt: 10 s, doubling, at most 10 minutes."""
    return min(BACKOFF_FIRST * (1 << max(attempt - 1, 0)), BACKOFF_MOST)


def _fence(order: Order, event: AnyEvent) -> None:
    if not isinstance(event, Held):
        return
    if event.epoch != order.epoch:
        raise LeaseLost(f"Epoch {event.epoch} of this order is over; the present one is {order.epoch}.")
    if order.state in FINAL:
        return  # the epoch was the last one: the table says that nothing more can happen
    if order.lease is None:
        raise LeaseLost(f"The lease of epoch {event.epoch} is over; the order waits to be claimed again.")
    launcher = getattr(event, "launcher", order.lease.launcher)
    if launcher != order.lease.launcher:
        raise LeaseLost(f"Epoch {event.epoch} of this order is held by another launcher.")


def _allow(order: Order, event: AnyEvent, now: datetime) -> None:
    """Refuse what the table allows in this state, but not yet, no longer, or not without the client's wish."""
    match event:
        case Claim() if now < order.available_at:
            raise WrongState("The order waits before its next attempt; it cannot be claimed yet.", state=order.state)
        case Claim() if now >= order.expires_at:
            raise WrongState("The order has waited too long; it is about to expire.", state=order.state)
        case Lapse() if order.lease is not None and now < order.lease.until:
            raise WrongState("The lease was renewed; it has not lapsed.", state=order.state)
        case Expire() if now < order.expires_at:
            raise WrongState("The order's queue TTL has not passed.", state=order.state)
        case Stop() | Release() if order.cancel_requested_at is None:
            raise WrongState("Nobody wished this order stopped.", state=order.state)
        case Release() if order.kind is not OrderKind.CAPACITY:
            raise WrongState("Only a capacity order is released; any other is stopped.", state=order.state)


def _record(order: Order, event: AnyEvent, now: datetime) -> Order:
    """Return the order with what the event itself says, before any change of state."""
    match event:
        case Claim():
            return replace(
                order,
                epoch=order.epoch + 1,
                attempt=order.attempt + 1,
                lease=Lease(event.launcher, event.lease_until),
                vm=None,
                reason=None,
                message=None,
            )
        case Renew():
            return replace(order, lease=Lease(event.launcher, event.lease_until))
        case Provision():
            return replace(order, vm=event.vm)
        case Succeed():
            return replace(order, output=event.output, metrics=event.metrics)
        case Fail() | Retry():
            return replace(order, reason=event.reason, message=event.message)
        case Return():
            return replace(order, attempt=order.attempt - 1, reason=Reason.RETURNED, message=event.message)
        case Lapse():
            return replace(order, reason=Reason.LEASE_LAPSED, message="The launcher's heartbeat stopped.")
        case Cancel():
            return replace(order, cancel_requested_at=order.cancel_requested_at or now)
        case Stop():
            return replace(order, reason=Reason.CANCELLED)
        case Release():
            return replace(order, reason=Reason.RELEASED)
        case Expire():
            return replace(order, reason=Reason.QUEUE_TTL, message="No launcher took it in time.")
        case Ring() | Start():
            return order
        case _:
            assert_never(event)


def _give_up_or_queue(order: Order, event: AnyEvent, now: datetime) -> tuple[Order, State]:
    """An attempt is over. Queue the order again, unless its client wished it gone or its attempts are used up."""
    if order.cancel_requested_at is not None:
        return replace(order, reason=Reason.CANCELLED), State.CANCELLED
    if order.attempt >= order.max_attempts:
        message = f"{order.attempt} attempts failed; the last: {order.reason}: {order.message}"
        return replace(order, reason=Reason.RETRIES_EXHAUSTED, message=message), State.FAILED
    if isinstance(event, Return):
        return replace(order, available_at=now), State.QUEUED  # and expires when it did: it may be returned for ever
    available_at = now + backoff(order.attempt)
    expires_at = available_at + timedelta(seconds=order.queue_seconds)
    return replace(order, available_at=available_at, expires_at=expires_at), State.QUEUED


def _enter(order: Order, target: State, event: AnyEvent, now: datetime) -> Order:
    held = target in HELD
    if target is State.CANCELLED and order.reason is None:
        order = replace(order, reason=Reason.CANCELLED)
    entered = order.entered if target is order.state else {**order.entered, target: now}
    changed = replace(
        order,
        state=target,
        updated_at=now,
        lease=order.lease if held else None,
        entered=entered,
        recent=_remember(order, event),
    )
    return replace(changed, due_at=_due_at(changed, event, now))


def _remember(order: Order, event: AnyEvent) -> tuple[str, ...]:
    """Add the event's request; but for bells and renewals, which may be repeated and would crowd out the others."""
    if isinstance(event, Ring | Renew):
        return order.recent
    return (*order.recent, event.request_id)[-REMEMBERED_REQUESTS:]


def _due_at(order: Order, event: AnyEvent, now: datetime) -> datetime | None:
    if order.final:
        return None
    if order.lease is not None:
        return order.lease.until
    next_bell = now + _until_next_bell(order, now) if isinstance(event, Ring) else order.available_at
    return min(order.expires_at, next_bell)


def _until_next_bell(order: Order, now: datetime) -> timedelta:
    """Twice as long each time: an order that nobody takes must not fill the subscription with its bells."""
    return min(max(now - order.available_at, RING_AGAIN), RING_AT_LEAST)
