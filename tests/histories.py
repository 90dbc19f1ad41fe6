"""Events of orders, and histories: sequences of events that lead to a row of the lifecycle's table."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Final

from hypothesis import strategies as st

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
from functions.domain.limits import OrderLimits
from functions.domain.order import Order, Output
from functions.domain.rules import RULES
from shared.domain.order import LEASE, Reason, State
from tests.factories import LAUNCHER, NOW, an_order

OUTPUT: Final = Output("outputs/x/1/a.xml", "a.xml", "application/xml", 3, "0" * 64)
LIMITS: Final = OrderLimits(boot_seconds=200, run_seconds=300, keep_seconds=1000)

MAKE: Final[Mapping[EventKind, Callable[[str, Order, datetime], AnyEvent]]] = {
    EventKind.RING: lambda id_, order, now: Ring(id_),
    EventKind.CLAIM: lambda id_, order, now: Claim(id_, LAUNCHER, now + LEASE),
    EventKind.RENEW: lambda id_, order, now: Renew(id_, order.epoch, LAUNCHER, now + LEASE),
    EventKind.NOTE: lambda id_, order, now: Note(id_, order.epoch, LAUNCHER, now + LEASE, "vm-2"),
    EventKind.PROVISION: lambda id_, order, now: Provision(id_, order.epoch, LAUNCHER, "vm-1"),
    EventKind.START: lambda id_, order, now: Start(id_, order.epoch),
    EventKind.REGISTER: lambda id_, order, now: Register(id_, order.epoch, "agent-1", "vm-1"),
    EventKind.PROGRESS: lambda id_, order, now: Progress(id_, order.epoch, {"entities_done": 1}),
    EventKind.SUCCEED: lambda id_, order, now: Succeed(id_, order.epoch, OUTPUT),
    EventKind.FAIL: lambda id_, order, now: Fail(id_, order.epoch, Reason.PROGRAM_FAILED, "no"),
    EventKind.RETRY: lambda id_, order, now: Retry(id_, order.epoch, Reason.MACHINE_EXITED, "gone"),
    EventKind.EXIT: lambda id_, order, now: Exit(id_, order.epoch, LAUNCHER, "exit code 1"),
    EventKind.RETURN: lambda id_, order, now: Return(id_, order.epoch, LAUNCHER, Reason.RETURNED, "going down"),
    EventKind.LAPSE: lambda id_, order, now: Lapse(id_, order.epoch),
    EventKind.BOOT_TIMEOUT: lambda id_, order, now: BootTimeout(id_, order.epoch),
    EventKind.RUN_TIMEOUT: lambda id_, order, now: RunTimeout(id_, order.epoch),
    EventKind.TTL_PASSED: lambda id_, order, now: TtlPassed(id_, order.epoch),
    EventKind.CANCEL: lambda id_, order, now: Cancel(id_),
    EventKind.STOP: lambda id_, order, now: Stop(id_, order.epoch, LAUNCHER),
    EventKind.RELEASE: lambda id_, order, now: Release(id_, order.epoch, LAUNCHER),
    EventKind.EXPIRE: lambda id_, order, now: Expire(id_),
    EventKind.DISCARD: lambda id_, order, now: Discard(id_),
}
FENCED: Final = [kind for kind in EventKind if hasattr(MAKE[kind]("x", an_order(), NOW), "epoch")]

CLAIM, CANCEL = EventKind.CLAIM, EventKind.CANCEL
WAY_TO: Final[Mapping[State, list[EventKind]]] = {
    State.QUEUED: [],
    State.CLAIMED: [CLAIM],
    State.PROVISIONING: [CLAIM, EventKind.PROVISION],
    State.RUNNING: [CLAIM, EventKind.PROVISION, EventKind.START],
    State.SUCCEEDED: [CLAIM, EventKind.SUCCEED],
    State.FAILED: [CLAIM, EventKind.FAIL],
    State.CANCELLED: [CLAIM, CANCEL, EventKind.STOP],
    State.EXPIRED: [CLAIM, EventKind.RETURN, EventKind.EXPIRE],
}
ENDS_OF_ATTEMPTS: Final = (EventKind.RETRY, EventKind.EXIT, EventKind.LAPSE, EventKind.RETURN)
LOST_ATTEMPTS: Final = st.lists(st.sampled_from(ENDS_OF_ATTEMPTS), max_size=2)


def a_history(
    lost: list[EventKind], row: tuple[State, EventKind], cancelled: bool, after: list[EventKind]
) -> list[EventKind]:
    """Return some lost attempts, then the way to a row of the table and the row itself, then any events."""
    attempts = [kind for last in lost for kind in (CLAIM, last)]
    return [*attempts, *WAY_TO[row[0]], *([CANCEL] if cancelled else []), row[1], *after]


ANYTHING: Final = st.lists(st.sampled_from(EventKind), max_size=6)
HISTORIES: Final = st.builds(a_history, LOST_ATTEMPTS, st.sampled_from(list(RULES)), st.booleans(), ANYTHING)


def histories_to(row: tuple[State, EventKind]) -> st.SearchStrategy[list[EventKind]]:
    return st.builds(a_history, LOST_ATTEMPTS, st.just(row), st.booleans(), ANYTHING)
