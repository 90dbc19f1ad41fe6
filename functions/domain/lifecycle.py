"""The rules of an order's life: one table, and the one pure function that reads it.

    queued → claimed → provisioning → running → succeeded | failed | cancelled
       ↑________|____________|___________|      expired (from queued)

A final state never changes; what such an order left in the bucket is discarded in time.

Anything sent by, or on behalf of, a holder carries the epoch; one that is not the present one is refused (`LeaseLost`).
"""

import zlib
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final, assert_never

from functions.domain.events import (
    AnyEvent,
    BootTimeout,
    Cancel,
    Claim,
    Discard,
    EventKind,
    Expire,
    Fail,
    Held,
    Lapse,
    Note,
    Provision,
    Register,
    Release,
    Renew,
    Retry,
    Return,
    Ring,
    RunTimeout,
    Start,
    Stop,
    Succeed,
    TtlPassed,
)
from functions.domain.holder import are_one
from functions.domain.limits import POLICIES
from functions.domain.order import (
    HELD,
    LAPSE_MARGIN,
    REMEMBERED_HOLDERS,
    REMEMBERED_REQUESTS,
    RING_AGAIN,
    RING_AT_LEAST,
    UPLOAD_VALID,
    Lease,
    Order,
    output_keys,
)
from functions.domain.refusals import LeaseLost, WrongState
from shared.domain.order import FINAL, Reason, State
from shared.domain.spec import Attestation, CapacitySpec, OrderKind

K, S = EventKind, State

RULES: Final[Mapping[tuple[State, EventKind], State]] = {
    (S.QUEUED, K.RING): S.QUEUED,
    (S.QUEUED, K.CLAIM): S.CLAIMED,
    (S.QUEUED, K.CANCEL): S.CANCELLED,
    (S.QUEUED, K.EXPIRE): S.EXPIRED,
    #
    (S.CLAIMED, K.RENEW): S.CLAIMED,
    (S.CLAIMED, K.NOTE): S.CLAIMED,
    (S.CLAIMED, K.REGISTER): S.RUNNING,
    (S.CLAIMED, K.PROVISION): S.PROVISIONING,
    (S.CLAIMED, K.START): S.RUNNING,  # the worker's report overtook the launcher's
    (S.CLAIMED, K.SUCCEED): S.SUCCEEDED,  # and so did its last
    (S.CLAIMED, K.FAIL): S.FAILED,
    (S.CLAIMED, K.RETRY): S.QUEUED,
    (S.CLAIMED, K.RETURN): S.QUEUED,
    (S.CLAIMED, K.LAPSE): S.QUEUED,
    (S.CLAIMED, K.BOOT_TIMEOUT): S.QUEUED,
    (S.CLAIMED, K.CANCEL): S.CLAIMED,  # noted; the launcher stops
    (S.CLAIMED, K.STOP): S.CANCELLED,
    #
    (S.PROVISIONING, K.RENEW): S.PROVISIONING,
    (S.PROVISIONING, K.NOTE): S.PROVISIONING,
    (S.PROVISIONING, K.PROVISION): S.PROVISIONING,  # it asks for more time
    (S.PROVISIONING, K.REGISTER): S.RUNNING,
    (S.PROVISIONING, K.START): S.RUNNING,
    (S.PROVISIONING, K.SUCCEED): S.SUCCEEDED,  # "completed" overtook "started"
    (S.PROVISIONING, K.FAIL): S.FAILED,
    (S.PROVISIONING, K.RETRY): S.QUEUED,
    (S.PROVISIONING, K.RETURN): S.QUEUED,
    (S.PROVISIONING, K.LAPSE): S.QUEUED,
    (S.PROVISIONING, K.BOOT_TIMEOUT): S.QUEUED,
    (S.PROVISIONING, K.CANCEL): S.PROVISIONING,
    (S.PROVISIONING, K.STOP): S.CANCELLED,
    #
    (S.RUNNING, K.RENEW): S.RUNNING,
    (S.RUNNING, K.REGISTER): S.RUNNING,  # its launcher said so first
    (S.RUNNING, K.PROVISION): S.RUNNING,  # the launcher's report comes late, and names the machine
    (S.RUNNING, K.SUCCEED): S.SUCCEEDED,
    (S.RUNNING, K.FAIL): S.FAILED,
    (S.RUNNING, K.RETRY): S.QUEUED,
    (S.RUNNING, K.RETURN): S.QUEUED,
    (S.RUNNING, K.LAPSE): S.QUEUED,
    (S.RUNNING, K.RUN_TIMEOUT): S.FAILED,  # another attempt would take as long
    (S.RUNNING, K.TTL_PASSED): S.SUCCEEDED,
    (S.RUNNING, K.CANCEL): S.RUNNING,  # noted; it ends at once if the order is not attended
    (S.RUNNING, K.STOP): S.CANCELLED,
    (S.RUNNING, K.RELEASE): S.SUCCEEDED,  # a capacity order given back has done its work
    #
    (S.SUCCEEDED, K.DISCARD): S.SUCCEEDED,
    (S.FAILED, K.DISCARD): S.FAILED,
    (S.CANCELLED, K.DISCARD): S.CANCELLED,
    (S.EXPIRED, K.DISCARD): S.EXPIRED,
}

BACKOFF_FIRST: Final = timedelta(seconds=10)
BACKOFF_MOST: Final = timedelta(minutes=10)
MIN_BOOT_WITHOUT_HEARTBEATS: Final = timedelta(minutes=30)
"""The least time to boot that an order has if it is not attended: its launcher may build the machine by hand."""
SPREAD: Final = 0.25
"""How much longer a wait may be than it must: orders that failed together must not all come back together."""


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
    if target is State.RUNNING and changed.cancel_requested_at is not None and not changed.attended:
        changed, target = _wished_gone(replace(changed, state=target))
    if target is State.QUEUED and order.state in HELD:
        changed, target = _give_up_or_queue(changed, event, now)
    return _enter(changed, target, event, now)


def due_event(order: Order, now: datetime, request_id: str) -> AnyEvent | None:
    """Return what the sweep owes an order whose `due_at` has passed: None where nothing is due."""
    if order.due_at is None or order.due_at > now:
        return None
    if order.final:
        return Discard(request_id)
    if order.lease is not None:
        return _limit_passed(order, now, request_id) or Lapse(request_id, order.epoch)
    return Expire(request_id) if order.expires_at <= now else Ring(request_id)


def demands_attestation(order: Order) -> bool:
    """Return whether only a registered agent makes the order run."""
    return isinstance(order.spec, CapacitySpec) and order.spec.attestation is Attestation.REQUIRED


def require_ended(order: Order) -> None:
    """Raises WrongState where the order may still change."""
    if not order.final:
        raise WrongState(f"The order is {order.state}; only one that has ended allows that.", state=order.state)


def backoff(nth: int, spread: float = 0) -> timedelta:
    """Return how long an order waits after its nth failure: 10 s, doubling, at most 10 minutes, and a spread on top.

    `spread` is from 0 to 1, of a quarter of the wait.
    """
    return min(BACKOFF_FIRST * (1 << min(max(nth - 1, 0), 10)), BACKOFF_MOST) * (1 + SPREAD * spread)


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
    if not are_one(launcher, order.lease.launcher):
        raise LeaseLost(f"Epoch {event.epoch} of this order is held by another launcher.")


def _allow(order: Order, event: AnyEvent, now: datetime) -> None:
    """Refuse what the table allows in this state, but not yet, no longer, or not without the client's wish."""
    match event:
        case Claim() if now < order.available_at and event.launcher not in order.former:
            raise WrongState("The order waits before its next attempt; it cannot be claimed yet.", state=order.state)
        case Claim() if now >= order.expires_at:
            raise WrongState("The order has waited too long; it is about to expire.", state=order.state)
        case Lapse() if not order.lease_expires:
            raise WrongState("The order runs and is not attended; its lease does not expire.", state=order.state)
        case Lapse() if order.lease is not None and now < order.lease.until + LAPSE_MARGIN:
            raise WrongState("The lease was renewed; it has not lapsed.", state=order.state)
        case Start() if order.agent is None and demands_attestation(order):
            raise WrongState("The order demands attestation: an agent in its machine must register.", state=order.state)
        case Register() if order.agent not in (None, event.agent):
            raise WrongState("Another agent registered from this order's machine.", state=order.state)
        case Register() if order.kind is not OrderKind.CAPACITY:
            raise WrongState("Only a capacity order's machine has an agent that registers.", state=order.state)
        case Expire() if now < order.expires_at:
            raise WrongState("The order's queue TTL has not passed.", state=order.state)
        case BootTimeout() | RunTimeout() | TtlPassed() if _limit_passed(order, now, event.request_id) != event:
            raise WrongState("The order has reached no such limit.", state=order.state)
        case Discard() if order.due_at is None or now < order.due_at:
            raise WrongState("Nothing of the order is to be discarded yet.", state=order.state)
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
                lease=Lease(event.launcher, event.lease_until, event.attended),
                claimed_by=event.launcher,
                agent=None,
                vm=None,
                reason=None,
                message=None,
            )
        case Renew():
            return replace(order, lease=_renewed(order.lease, event))
        case Note() | Provision():
            return _told(replace(order, lease=_extended(order.lease, event.lease_until)), event)
        case Start():
            return _told(order, event)
        case Register():
            return replace(order, agent=event.agent, vm=order.vm or event.vm)
        case Succeed():
            return replace(order, output=event.output, metrics=event.metrics)
        case Fail() | Retry():
            return replace(order, reason=event.reason, message=event.message)
        case Return():
            return replace(order, attempt=order.attempt - 1, reason=event.reason, message=event.message)
        case Lapse():
            attempt, message = order.attempt - _not_begun(order), "The launcher's heartbeat stopped."
            return replace(order, attempt=attempt, reason=Reason.LEASE_LAPSED, message=message)
        case BootTimeout():
            message = f"Its worker did not report within {order.limits.boot_seconds:g} s."
            return replace(order, reason=Reason.BOOT_TIMEOUT, message=message)
        case RunTimeout():
            message = f"Its worker ran for more than {order.limits.run_seconds:g} s."
            return replace(order, reason=Reason.RUN_TIMEOUT, message=message)
        case TtlPassed():
            return replace(order, reason=Reason.TTL)
        case Discard():
            return replace(order, discarded_at=order.discarded_at or now)
        case Cancel():
            return replace(order, cancel_requested_at=order.cancel_requested_at or now)
        case Stop():
            return replace(order, reason=Reason.CANCELLED)
        case Release():
            return replace(order, reason=Reason.RELEASED)
        case Expire():
            return replace(order, reason=Reason.QUEUE_TTL, message=_not_taken(order))
        case Ring():
            return order
        case _:
            assert_never(event)


def _renewed(lease: Lease | None, event: Renew) -> Lease:
    """A heartbeat that was overtaken by the next takes back nothing: its launcher was told the later end."""
    until = event.lease_until if lease is None else max(lease.until, event.lease_until)
    return Lease(event.launcher, until, event.attended)


def _extended(lease: Lease | None, until: datetime | None) -> Lease | None:
    return lease if lease is None or until is None else replace(lease, until=max(lease.until, until))


def _told(order: Order, event: Note | Provision | Start) -> Order:
    """Return the order with what its launcher says of the machine; an empty text takes back what was said."""
    vm = order.vm if event.vm is None else event.vm or None
    message = order.message if event.message is None else event.message or None
    return replace(order, vm=vm, message=message)


def _give_up_or_queue(order: Order, event: AnyEvent, now: datetime) -> tuple[Order, State]:
    """An attempt is over. Queue the order again, unless its client wished it gone or no other may follow."""
    if order.cancel_requested_at is not None:
        return _wished_gone(order)
    if order.state is State.RUNNING and not POLICIES[order.kind].reruns:
        return replace(order, message=f"It had begun, and is not run again: {order.message}"), State.FAILED
    if isinstance(event, Return):
        return _handed_back(order, now), State.QUEUED
    if isinstance(event, Lapse) and _not_begun(order):
        return _waits_on(order, now), State.QUEUED
    if order.attempt >= order.max_attempts:
        return _exhausted(order), State.FAILED
    available_at = now + backoff(order.attempt, _spread(order))
    return replace(order, available_at=available_at, expires_at=available_at + order.limits.queue), State.QUEUED


def _not_taken(order: Order) -> str:
    """Return what to say of an order that expired: perhaps launchers took it, and could not run it."""
    last = "" if order.reason is None else f" The last that tried: {order.reason}: {order.message}"
    return f"No launcher ran it in time.{last}"


def _wished_gone(order: Order) -> tuple[Order, State]:
    """Whoever tells of the end: a machine that was fulfilled has done its work, anything else was cancelled."""
    if order.state is State.RUNNING and order.kind is OrderKind.CAPACITY:
        return replace(order, reason=Reason.RELEASED, message=None), State.SUCCEEDED
    return replace(order, reason=Reason.CANCELLED), State.CANCELLED


def _handed_back(order: Order, now: datetime) -> Order:
    """One that did not run expires when it would have; one that did, perhaps for days, waits anew."""
    available_at = _available_again(order, now)
    expires_at = available_at + order.limits.queue if order.state is State.RUNNING else order.expires_at
    return replace(order, available_at=available_at, expires_at=expires_at)


def _not_begun(order: Order) -> bool:
    """Whether no machine was started for its claim: a launcher that sends heartbeats tells before it starts one.

    Its lapse burns no attempt, or three callers that hung up would end an order that nobody tried. Others may have
    started one, and be late to tell.
    """
    return order.state is State.CLAIMED and order.attended


def _waits_on(order: Order, now: datetime) -> Order:
    """Longer each time, and until its queue TTL, to which the time that it was held is added."""
    available_at = now + backoff(order.epoch - order.attempt, _spread(order))
    return replace(order, available_at=available_at, expires_at=order.expires_at + (now - order.entered[State.CLAIMED]))


def _available_again(order: Order, now: datetime) -> datetime:
    """Handed back, it may go to another launcher at once; for want of room it waits, longer each time."""
    if order.reason is Reason.RETURNED:
        return now
    return now + backoff(order.epoch - order.attempt, _spread(order))


def _exhausted(order: Order) -> Order:
    """A limit keeps its own reason; of any other failure the message tells."""
    reason = Reason.BOOT_TIMEOUT if order.reason is Reason.BOOT_TIMEOUT else Reason.RETRIES_EXHAUSTED
    message = f"{order.attempt} attempts failed; the last: {order.reason}: {order.message}"
    return replace(order, reason=reason, message=message)


def _spread(order: Order) -> float:
    """Return a number from 0 to 1 that differs between orders, and between the attempts of one."""
    return zlib.crc32(f"{order.id}/{order.epoch}".encode()) / (1 << 32)


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
        claimed_by=None if target is State.QUEUED else order.claimed_by,
        former=_former(order, event),
        entered=entered,
        recent=_remember(order, event),
    )
    return replace(changed, due_at=_due_at(changed, event, now))


def _former(order: Order, event: AnyEvent) -> tuple[str, ...]:
    """Add a holder that was given up unheard: it may yet come with the machine."""
    if not isinstance(event, Lapse | BootTimeout) or order.claimed_by is None:
        return order.former
    others = tuple(holder for holder in order.former if holder != order.claimed_by)
    return (*others, order.claimed_by)[-REMEMBERED_HOLDERS:]


def _remember(order: Order, event: AnyEvent) -> tuple[str, ...]:
    """Add the event's request; but for bells and renewals, which may be repeated and would crowd out the others."""
    if isinstance(event, Ring | Renew):
        return order.recent
    return (*order.recent, event.request_id)[-REMEMBERED_REQUESTS:]


def _due_at(order: Order, event: AnyEvent, now: datetime) -> datetime | None:
    if order.final:
        return _discard_at(order, now)
    if order.lease is not None:
        ends = [_limit_at(order), order.lease.until + LAPSE_MARGIN if order.lease_expires else None]
        return min((end for end in ends if end is not None), default=None)
    next_bell = now + _until_next_bell(order, now) if isinstance(event, Ring) else order.available_at
    return min(order.expires_at, next_bell)


def _discard_at(order: Order, now: datetime) -> datetime | None:
    """Return when what an ended order left is to be removed; again when no upload can begin any more."""
    if not output_keys(order):
        return None
    if order.discarded_at is None:
        return now + order.limits.keep
    last = order.entered[order.state] + UPLOAD_VALID
    return last if now < last else None


def _limit_at(order: Order) -> datetime | None:
    """Return when the limit of a held order's state passes."""
    if order.state is not State.RUNNING:
        boot = order.limits.boot if order.attended else max(order.limits.boot, MIN_BOOT_WITHOUT_HEARTBEATS)
        return order.entered[State.CLAIMED] + boot
    return None if order.limits.run is None else order.entered[State.RUNNING] + order.limits.run


def _limit_passed(order: Order, now: datetime, request_id: str) -> BootTimeout | RunTimeout | TtlPassed | None:
    limit_at = _limit_at(order)
    if limit_at is None or now < limit_at:
        return None
    if order.state is not State.RUNNING:
        return BootTimeout(request_id, order.epoch)
    return (TtlPassed if order.kind is OrderKind.CAPACITY else RunTimeout)(request_id, order.epoch)


def _until_next_bell(order: Order, now: datetime) -> timedelta:
    """Twice as long each time: an order that nobody takes must not fill the subscription with its bells."""
    return min(max(now - order.available_at, RING_AGAIN), RING_AT_LEAST)
