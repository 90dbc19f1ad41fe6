"""The order's state machine: one table of (state, event) → state, and the one pure function that reads it.

    queued → claimed → provisioning → running → succeeded | failed | cancelled
       ↑________|____________|___________|      expired (from queued)

A final state never changes. The output of such an order is discarded after its retention.

Every event from a holder, or on its behalf, carries its epoch, which `fence` checks.
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any, Final, assert_never

from functions.domain.events import (
    AnyEvent,
    BootTimeout,
    Cancel,
    Claim,
    Discard,
    EventKind,
    Exit,
    Expire,
    Fail,
    Held,
    Lapse,
    Note,
    Progress,
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
from functions.domain.exits import event_of
from functions.domain.fence import fence, require_last_holder
from functions.domain.order import (
    HELD,
    LAPSE_MARGIN,
    LAPSED_CLAIM_VALID,
    REMEMBERED_HOLDERS,
    REMEMBERED_REQUESTS,
    LapsedClaim,
    Lease,
    Order,
)
from functions.domain.refusals import WrongState
from functions.domain.timing import backoff_of, due_at, limit_passed
from shared.domain.order import Reason, State
from shared.domain.spec import Attestation, CapacitySpec, OrderKind, SessionSpec

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
    (S.CLAIMED, K.SUCCEED): S.SUCCEEDED,  # and so did its last report
    (S.CLAIMED, K.FAIL): S.FAILED,
    (S.CLAIMED, K.RETRY): S.QUEUED,
    (S.CLAIMED, K.EXIT): S.QUEUED,
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
    (S.PROVISIONING, K.EXIT): S.QUEUED,
    (S.PROVISIONING, K.RETURN): S.QUEUED,
    (S.PROVISIONING, K.LAPSE): S.QUEUED,
    (S.PROVISIONING, K.BOOT_TIMEOUT): S.QUEUED,
    (S.PROVISIONING, K.CANCEL): S.PROVISIONING,
    (S.PROVISIONING, K.STOP): S.CANCELLED,
    #
    (S.RUNNING, K.RENEW): S.RUNNING,
    (S.RUNNING, K.REGISTER): S.RUNNING,  # the launcher reported it first
    (S.RUNNING, K.PROVISION): S.RUNNING,  # the launcher's late report names the machine
    (S.RUNNING, K.PROGRESS): S.RUNNING,
    (S.RUNNING, K.SUCCEED): S.SUCCEEDED,
    (S.RUNNING, K.FAIL): S.FAILED,
    (S.RUNNING, K.RETRY): S.QUEUED,
    (S.RUNNING, K.EXIT): S.QUEUED,
    (S.RUNNING, K.RETURN): S.QUEUED,
    (S.RUNNING, K.LAPSE): S.QUEUED,
    (S.RUNNING, K.RUN_TIMEOUT): S.FAILED,  # another attempt would take as long
    (S.RUNNING, K.TTL_PASSED): S.SUCCEEDED,
    (S.RUNNING, K.CANCEL): S.RUNNING,  # noted; the order ends at once if it is not attended
    (S.RUNNING, K.STOP): S.CANCELLED,
    (S.RUNNING, K.RELEASE): S.SUCCEEDED,  # a released capacity order has done its work
    #
    (S.SUCCEEDED, K.EXIT): S.SUCCEEDED,
    (S.SUCCEEDED, K.DISCARD): S.SUCCEEDED,
    (S.FAILED, K.EXIT): S.FAILED,
    (S.FAILED, K.DISCARD): S.FAILED,
    (S.CANCELLED, K.EXIT): S.CANCELLED,
    (S.CANCELLED, K.DISCARD): S.CANCELLED,
    (S.EXPIRED, K.DISCARD): S.EXPIRED,
}


def advance(order: Order, event: AnyEvent, now: datetime) -> Order:
    """Return the order after `event`; the same object if the event's request was applied before.

    Raises LeaseLost if the event's sender no longer holds the lease, WrongState if no rule allows the event.
    """
    repeated = event.request_id in order.recent
    if isinstance(event, Held) and not (repeated and event.epoch == order.epoch):
        fence(order, event.epoch, getattr(event, "launcher", None))
    if repeated:
        return order
    if isinstance(event, Exit):
        event = event_of(order, event)
    target = RULES.get((order.state, event.kind))
    if target is None:
        raise WrongState(f"The order is {order.state}; it cannot {event.kind}.", state=order.state)
    if order.final and isinstance(event, Exit):
        require_last_holder(order, event.epoch, event.launcher)
        return order  # normal: a machine ends after its order has ended
    _require_allowed(order, event, now)
    changed = _record(order, event, now)
    if target is State.EXPIRED and changed.reason is Reason.UNMATCHED:
        target = State.FAILED
    if target is State.RUNNING and changed.cancel_requested_at is not None and not changed.can_be_stopped:
        changed, target = _end_cancelled(replace(changed, state=target))
    if isinstance(event, Fail) and order.kind is OrderKind.SESSION and changed.cancel_requested_at is not None:
        changed, target = _end_cancelled(changed)  # its process was to be killed, and that is how it failed
    if target is State.QUEUED and order.state in HELD:
        changed, target = _after_an_attempt(changed, event, now)
    return _enter(changed, target, event, now)


def demands_attestation(order: Order) -> bool:
    """Return whether the order runs only once an agent has registered."""
    return isinstance(order.spec, CapacitySpec) and order.spec.attestation is Attestation.REQUIRED


def require_ended(order: Order) -> None:
    """Raise WrongState if the order may still change."""
    if not order.final:
        raise WrongState(f"The order is {order.state}; only one that has ended allows that.", state=order.state)


def _require_allowed(order: Order, event: AnyEvent, now: datetime) -> None:
    """Raise WrongState for an event that the table allows, but the order's times or kind do not."""
    match event:
        case Claim() if now < order.available_at and event.launcher not in order.former:
            raise WrongState("The order cannot be claimed yet; it waits before its next attempt.", state=order.state)
        case Claim() if now >= order.expires_at:
            raise WrongState("The order has waited too long; it is about to expire.", state=order.state)
        case Lapse() if not order.lease_expires:
            raise WrongState("The order runs and is not attended; its lease does not expire.", state=order.state)
        case Lapse() if order.lease is not None and now < order.lease.until + LAPSE_MARGIN:
            raise WrongState("The lease was renewed; it has not lapsed.", state=order.state)
        case Start() if order.agent is None and demands_attestation(order):
            raise WrongState("The order demands attestation: an agent in its machine must register.", state=order.state)
        case Register() if order.agent not in (None, event.agent, event.replaces):
            raise WrongState("Another agent registered from this order's machine.", state=order.state)
        case Register() if order.kind is not OrderKind.CAPACITY:
            raise WrongState("Only a capacity order's machine has an agent that registers.", state=order.state)
        case Expire() if now < order.expires_at:
            raise WrongState("The order's queue TTL has not passed.", state=order.state)
        case BootTimeout() | RunTimeout() | TtlPassed() if limit_passed(order, now, event.request_id) != event:
            raise WrongState("The order has reached no such limit.", state=order.state)
        case Discard() if order.due_at is None or now < order.due_at:
            raise WrongState("Nothing of the order is to be discarded yet.", state=order.state)
        case Stop() | Release() if order.cancel_requested_at is None:
            raise WrongState("This order was not cancelled; its machine is not to be stopped.", state=order.state)
        case Release() if order.kind is not OrderKind.CAPACITY:
            raise WrongState("Only a capacity order is released; any other is stopped.", state=order.state)


def _record(order: Order, event: AnyEvent, now: datetime) -> Order:
    """Return the order with the event's own data applied, before any change of state."""
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
                progress={},
            )
        case Renew():
            # If the next heartbeat overtook this one, the later end stays: the launcher was sent that one.
            until = event.lease_until if order.lease is None else max(order.lease.until, event.lease_until)
            return replace(order, lease=Lease(event.launcher, until, event.attended))
        case Note() | Provision():
            lease = order.lease
            if lease is not None and event.lease_until is not None:
                lease = replace(lease, until=max(lease.until, event.lease_until))
            return replace(order, lease=lease, **_of_machine(order, event))
        case Start():
            return replace(order, **_of_machine(order, event))
        case Register():
            return replace(order, agent=event.agent, vm=order.vm or event.vm)
        case Progress():
            return replace(order, progress=event.progress)
        case Succeed():
            message = order.message if event.message is None else event.message
            return replace(order, output=event.output, metrics=event.metrics, message=message)
        case Fail() | Retry():
            return replace(order, reason=event.reason, message=event.message)
        case Exit():
            return replace(order, reason=Reason.MACHINE_EXITED, message=event.message)
        case Return():
            return replace(order, attempt=order.attempt - 1, reason=event.reason, message=event.message)
        case Lapse():
            attempt = order.attempt - 1 if _started_nothing(order) else order.attempt
            message = "The launcher's heartbeat stopped."
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
        case Expire() if order.epoch == 0 and isinstance(order.spec, SessionSpec) and order.spec.labels:
            message = f"No launcher that offers {', '.join(order.spec.labels)} took it in time."
            return replace(order, reason=Reason.UNMATCHED, message=message)
        case Expire():
            last = "" if order.reason is None else f" The last that tried: {order.reason}: {order.message}"
            return replace(order, reason=Reason.QUEUE_TTL, message=f"No launcher ran it in time.{last}")
        case Ring():
            return order
        case _:
            assert_never(event)


def _of_machine(order: Order, event: Note | Provision | Start) -> dict[str, Any]:
    """Return the order's `vm` and `message` after the report: None keeps the stored one, an empty text clears it."""
    return {
        "vm": order.vm if event.vm is None else event.vm or None,
        "message": order.message if event.message is None else event.message or None,
    }


def _started_nothing(order: Order) -> bool:
    """Return whether the holder has certainly not started a machine: an attended launcher reports before it starts one.

    The lapse of such a claim does not count as an attempt. Otherwise three callers that hung up would end an order that
    was never tried. A launcher without heartbeats may have started a machine, and may report it later. A session has no
    machine, and its launcher reports the start at once.
    """
    return order.state is State.CLAIMED and (order.attended or order.kind is OrderKind.SESSION)


def _after_an_attempt(order: Order, event: AnyEvent, now: datetime) -> tuple[Order, State]:
    """Return the order, and whether it is queued again. It is not if its client has cancelled it, or if no attempt is
    left.
    """
    if order.cancel_requested_at is not None:
        return _end_cancelled(order)
    if order.kind is OrderKind.SESSION and order.state is State.RUNNING:
        return order, State.FAILED  # what its agent has done is not done twice unless a client asks for it
    if isinstance(event, Return):
        # A returned order may be claimed at once; if the launcher had no capacity, it waits, longer each time.
        returned = order.reason is Reason.RETURNED
        available_at = now if returned else now + backoff_of(order, order.epoch - order.attempt)
        # If the order has not run, its queue TTL continues; if it has, perhaps for days, a new one begins.
        expires_at = available_at + order.limits.queue if order.state is State.RUNNING else order.expires_at
    elif isinstance(event, Lapse) and _started_nothing(order):
        # It waits longer each time, within its queue TTL, which is extended by the time that the order was held.
        available_at = now + backoff_of(order, order.epoch - order.attempt)
        expires_at = order.expires_at + (now - order.entered[State.CLAIMED])
    elif order.attempt < order.max_attempts:
        available_at = now + backoff_of(order, order.attempt)
        expires_at = available_at + order.limits.queue
    else:
        # A boot timeout stays the reason; any other reason goes into the message.
        reason = Reason.BOOT_TIMEOUT if order.reason is Reason.BOOT_TIMEOUT else Reason.RETRIES_EXHAUSTED
        message = f"{order.attempt} attempts failed; the last: {order.reason}: {order.message}"
        return replace(order, reason=reason, message=message), State.FAILED
    return replace(order, available_at=available_at, expires_at=expires_at), State.QUEUED


def _end_cancelled(order: Order) -> tuple[Order, State]:
    """End a cancelled order: a capacity order that ran has succeeded, any other is cancelled."""
    if order.state is State.RUNNING and order.kind is OrderKind.CAPACITY:
        return replace(order, reason=Reason.RELEASED, message=None), State.SUCCEEDED
    return replace(order, reason=Reason.CANCELLED), State.CANCELLED


def _enter(order: Order, target: State, event: AnyEvent, now: datetime) -> Order:
    """Return the order in this state, with the notes that every change of state makes."""
    former, lapsed, recent = order.former, order.lapsed, order.recent
    if isinstance(event, Lapse | BootTimeout) and order.claimed_by is not None:
        # A holder that lost the order may still report its machine.
        others = (holder for holder in former if holder != order.claimed_by)
        former = (*others, order.claimed_by)[-REMEMBERED_HOLDERS:]
        valid = (claim for claim in lapsed if now < claim.lapsed_at + LAPSED_CLAIM_VALID)
        lapsed = (*valid, LapsedClaim(order.claimed_by, order.epoch, now))[-REMEMBERED_HOLDERS:]
    if not isinstance(
        event, Ring | Renew | Progress
    ):  # requests of these kinds repeat safely, and would push out the others
        recent = (*recent, event.request_id)[-REMEMBERED_REQUESTS:]
    changed = replace(
        order,
        state=target,
        reason=Reason.CANCELLED if target is State.CANCELLED else order.reason,  # not that of an earlier attempt
        updated_at=now,
        lease=order.lease if target in HELD else None,
        claimed_by=None if target is State.QUEUED else order.claimed_by,
        former=former,
        lapsed=lapsed,
        entered=order.entered if target is order.state else {**order.entered, target: now},
        recent=recent,
    )
    return replace(changed, due_at=due_at(changed, event, now))
