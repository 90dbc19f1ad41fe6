"""The events of an order: one frozen class for each, with the row of the table that it selects."""

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
    PROGRESS = "progress"
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
    """`request_id` names the request that caused it: an order remembers the last few, and ignores repeats."""

    kind: ClassVar[EventKind]
    request_id: str


@dataclass(frozen=True, slots=True)
class Held(Event):
    """An event that only the holder of the current epoch may cause: `rules.fence` refuses any other."""

    epoch: int


@dataclass(frozen=True, slots=True)
class Ring(Event):
    """The doorbell was published."""

    kind = EventKind.RING


@dataclass(frozen=True, slots=True)
class Claim(Event):
    """A launcher takes the order, at an epoch one higher than the last. It sends no heartbeats if not `attended`."""

    kind = EventKind.CLAIM
    launcher: str
    lease_until: datetime
    attended: bool = True


@dataclass(frozen=True, slots=True)
class Renew(Held):
    """The launcher's heartbeat named the order, and says whether it is attended from now on."""

    kind = EventKind.RENEW
    launcher: str
    lease_until: datetime
    attended: bool = True


@dataclass(frozen=True, slots=True)
class Note(Held):
    """The launcher reports its machine, and keeps the order. If `vm` or `message` is None, the stored one stays."""

    kind = EventKind.NOTE
    launcher: str
    lease_until: datetime
    vm: str | None = None
    message: str | None = None


@dataclass(frozen=True, slots=True)
class Provision(Held):
    """The launcher starts the machine `vm`, and may ask for more time. If a field is None, the stored one stays."""

    kind = EventKind.PROVISION
    launcher: str
    vm: str | None
    lease_until: datetime | None = None
    message: str | None = None


@dataclass(frozen=True, slots=True)
class Start(Held):
    """The worker (or the launcher, if the order is not attended) reported that it is up. A field that is None stays.

    `launcher` is set if the launcher reports for an image whose program does not.
    """

    kind = EventKind.START
    vm: str | None = None
    message: str | None = None
    launcher: str | None = None


@dataclass(frozen=True, slots=True)
class Register(Held):
    """An agent in the machine registered, and its quote was appraised. There is at most one agent for each epoch.

    `replaces` is an agent that was found by its name alone, and gives way to one with the bootstrap token.
    """

    kind = EventKind.REGISTER
    agent: str
    vm: str
    replaces: str | None = None


@dataclass(frozen=True, slots=True)
class Progress(Held):
    """The worker reported what it has done so far."""

    kind = EventKind.PROGRESS
    progress: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Succeed(Held):
    """The worker completed, and its output, if it has one, is in the bucket."""

    kind = EventKind.SUCCEED
    output: Output | None = None
    metrics: Mapping[str, int | float] = field(default_factory=dict)
    message: str | None = None


@dataclass(frozen=True, slots=True)
class Fail(Held):
    """The attempt failed, and another would fail in the same way."""

    kind = EventKind.FAIL
    reason: Reason
    message: str
    launcher: str | None = None
    """None if its worker reported it."""


@dataclass(frozen=True, slots=True)
class Retry(Held):
    """The attempt failed, and another may succeed."""

    kind = EventKind.RETRY
    reason: Reason
    message: str
    launcher: str | None = None
    """None if its worker reported it."""


@dataclass(frozen=True, slots=True)
class Exit(Held):
    """The machine ended by itself. If the order had not ended, the attempt has failed; otherwise nothing changes.

    For a task's image the exit code decides, and the event becomes another: see `exits.event_of`.
    """

    kind = EventKind.EXIT
    launcher: str
    message: str
    exit_code: int | None = None
    """None if it is unknown."""


@dataclass(frozen=True, slots=True)
class Return(Held):
    """The launcher returns the order without an attempt: it has no capacity, or is shutting down."""

    kind = EventKind.RETURN
    launcher: str
    reason: Reason
    message: str


@dataclass(frozen=True, slots=True)
class Lapse(Held):
    """The lease ended without a heartbeat. If no machine was started, this does not count as an attempt."""

    kind = EventKind.LAPSE


@dataclass(frozen=True, slots=True)
class BootTimeout(Held):
    """The worker did not report within the order's boot limit."""

    kind = EventKind.BOOT_TIMEOUT


@dataclass(frozen=True, slots=True)
class RunTimeout(Held):
    """The worker ran longer than the order's run limit."""

    kind = EventKind.RUN_TIMEOUT


@dataclass(frozen=True, slots=True)
class TtlPassed(Held):
    """A capacity order has run for its TTL."""

    kind = EventKind.TTL_PASSED


@dataclass(frozen=True, slots=True)
class Cancel(Event):
    """The client cancels the order. If it is queued, it ends at once; if it is held, its launcher stops the machine."""

    kind = EventKind.CANCEL


@dataclass(frozen=True, slots=True)
class Stop(Held):
    """The launcher has stopped the machine of a cancelled order."""

    kind = EventKind.STOP
    launcher: str


@dataclass(frozen=True, slots=True)
class Release(Held):
    """The launcher has stopped the machine of a capacity order that was cancelled after it was fulfilled."""

    kind = EventKind.RELEASE
    launcher: str


@dataclass(frozen=True, slots=True)
class Expire(Event):
    """The queue TTL passed, and no launcher ran the order."""

    kind = EventKind.EXPIRE


@dataclass(frozen=True, slots=True)
class Discard(Event):
    """The output's retention has passed, and its objects are removed."""

    kind = EventKind.DISCARD


AnyEvent = (
    Ring
    | Claim
    | Renew
    | Note
    | Provision
    | Start
    | Register
    | Progress
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
