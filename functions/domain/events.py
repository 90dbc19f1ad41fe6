"""What can happen to an order: one frozen class an event, each with the row of the table that it reads."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import ClassVar

from functions.domain.order import Output
from shared.domain.order import Reason


class EventKind(StrEnum):
    RING = "ring"
    CLAIM = "claim"
    RENEW = "renew"
    NOTE = "note"
    PROVISION = "provision"
    START = "start"
    REGISTER = "register"
    SUCCEED = "succeed"
    FAIL = "fail"
    RETRY = "retry"
    EXIT = "exit"
    RETURN = "return"
    LAPSE = "lapse"
    BOOT_TIMEOUT = "boot_timeout"
    RUN_TIMEOUT = "run_timeout"
    TTL_PASSED = "ttl_passed"
    CANCEL = "cancel"
    STOP = "stop"
    RELEASE = "release"
    EXPIRE = "expire"
    DISCARD = "discard"


@dataclass(frozen=True, slots=True)
class Event:
    """`request_id` names the request that caused it; an order remembers the last few and ignores repeats."""

    kind: ClassVar[EventKind]
    request_id: str


@dataclass(frozen=True, slots=True)
class Held(Event):
    """An event that only the holder of the present epoch may cause: the fence."""

    epoch: int


@dataclass(frozen=True, slots=True)
class Ring(Event):
    """The doorbell was published."""

    kind = EventKind.RING


@dataclass(frozen=True, slots=True)
class Claim(Event):
    """A launcher takes the order, at an epoch one higher than the last. One not `attended` sends no heartbeats."""

    kind = EventKind.CLAIM
    launcher: str
    lease_until: datetime
    attended: bool = True


@dataclass(frozen=True, slots=True)
class Renew(Held):
    """The launcher's heartbeat named the order; from now on it is attended, or not."""

    kind = EventKind.RENEW
    launcher: str
    lease_until: datetime
    attended: bool = True


@dataclass(frozen=True, slots=True)
class Note(Held):
    """The launcher reports its machine, and keeps the order. If `vm` or `message` is None, it stays as it is."""

    kind = EventKind.NOTE
    launcher: str
    lease_until: datetime
    vm: str | None = None
    message: str | None = None


@dataclass(frozen=True, slots=True)
class Provision(Held):
    """The launcher starts the machine `vm`; it may ask for more time. What is None stays as it is."""

    kind = EventKind.PROVISION
    launcher: str
    vm: str | None
    lease_until: datetime | None = None
    message: str | None = None


@dataclass(frozen=True, slots=True)
class Start(Held):
    """The worker reported that it is up; or its launcher did, if the order is not attended. None changes nothing."""

    kind = EventKind.START
    vm: str | None = None
    message: str | None = None


@dataclass(frozen=True, slots=True)
class Register(Held):
    """An agent in the machine registered, its quote appraised: one an epoch."""

    kind = EventKind.REGISTER
    agent: str
    vm: str


@dataclass(frozen=True, slots=True)
class Succeed(Held):
    """The worker completed, and its output is in the bucket."""

    kind = EventKind.SUCCEED
    output: Output | None = None
    metrics: Mapping[str, int | float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Fail(Held):
    """It cannot succeed: another attempt would end the same way."""

    kind = EventKind.FAIL
    reason: Reason
    message: str
    launcher: str | None = None
    """None if its worker reported it."""


@dataclass(frozen=True, slots=True)
class Retry(Held):
    """This attempt failed; another may succeed."""

    kind = EventKind.RETRY
    reason: Reason
    message: str
    launcher: str | None = None
    """None if its worker reported it."""


@dataclass(frozen=True, slots=True)
class Exit(Held):
    """The machine has ended by itself. If the order still ran, the attempt has failed; else nothing changes."""

    kind = EventKind.EXIT
    launcher: str
    message: str


@dataclass(frozen=True, slots=True)
class Return(Held):
    """The launcher hands the order back untried: it has no capacity, or is going down. That burns no attempt."""

    kind = EventKind.RETURN
    launcher: str
    reason: Reason
    message: str


@dataclass(frozen=True, slots=True)
class Lapse(Held):
    """The lease ran out without a heartbeat. If no machine was begun, that burns no attempt."""

    kind = EventKind.LAPSE


@dataclass(frozen=True, slots=True)
class BootTimeout(Held):
    """Its worker did not report within the order's boot limit."""

    kind = EventKind.BOOT_TIMEOUT


@dataclass(frozen=True, slots=True)
class RunTimeout(Held):
    """Its worker ran longer than the order's run limit."""

    kind = EventKind.RUN_TIMEOUT


@dataclass(frozen=True, slots=True)
class TtlPassed(Held):
    """A capacity order has run as long as it was to."""

    kind = EventKind.TTL_PASSED


@dataclass(frozen=True, slots=True)
class Cancel(Event):
    """The client cancels. An order that waits ends at once; the launcher of one that is held stops its machine."""

    kind = EventKind.CANCEL


@dataclass(frozen=True, slots=True)
class Stop(Held):
    """The launcher has stopped the machine of an order whose client had cancelled it."""

    kind = EventKind.STOP
    launcher: str


@dataclass(frozen=True, slots=True)
class Release(Held):
    """The launcher has taken back the machine of a capacity order that had been fulfilled."""

    kind = EventKind.RELEASE
    launcher: str


@dataclass(frozen=True, slots=True)
class Expire(Event):
    """Its queue TTL passed, and no launcher ran it."""

    kind = EventKind.EXPIRE


@dataclass(frozen=True, slots=True)
class Discard(Event):
    """What it left in the bucket was kept as long as it was to be, and is removed."""

    kind = EventKind.DISCARD


AnyEvent = (
    Ring
    | Claim
    | Renew
    | Note
    | Provision
    | Start
    | Register
    | Succeed
    | Fail
    | Retry
    | Exit
    | Return
    | Lapse
    | BootTimeout
    | RunTimeout
    | TtlPassed
    | Cancel
    | Stop
    | Release
    | Expire
    | Discard
)
