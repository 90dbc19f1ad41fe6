"""Models for launchers: `/v1/claims`, `/v1/updates`, `/v1/heartbeats`, `/v1/holds`."""

from datetime import datetime
from typing import Annotated, Final, Literal

from pydantic import Field, StringConstraints

from shared.domain.order import Failure, Reason
from shared.domain.spec import AnySpec
from shared.wire.base import LEFT_TO_RIGHT, Answer, AnyState, Epoch, Name, OrderId, Request, Text

IDENTITY_HEADER: Final = "Launchyard-Launcher-Identity"
Identity = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")]
"""Tells launchers of one name apart. A launcher sends it with each request, as IDENTITY_HEADER."""

RequestId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._:-]{8,128}$")]
Lane = Annotated[str, StringConstraints(pattern=r"^([a-z0-9:._-]+|[a-z0-9_-]+:\*)/[a-z]+(/[a-z]+)?$", max_length=200)]
WhyStop = Annotated[Literal["cancelled", "finished", "lease_lost"] | str, LEFT_TO_RIGHT]


class ClaimById(Request):
    """Claim the order that a bell named. Not `attended`: once it runs, nobody sends heartbeats for it."""

    by: Literal["id"] = "id"
    request_id: RequestId
    launcher: Name
    order_id: OrderId
    lanes: Annotated[tuple[Lane, ...], Field(min_length=1, max_length=30)]
    attended: bool = True


class ClaimNext(Request):
    """Claim any order of these lanes, waiting up to `wait_seconds` for one.

    `<cloud>:*/capacity/<size>` is any of a cloud's.
    """

    by: Literal["next"] = "next"
    request_id: RequestId
    launcher: Name
    lanes: Annotated[tuple[Lane, ...], Field(min_length=1, max_length=30)]
    attended: bool = True
    wait_seconds: Annotated[int, Field(ge=0, le=30)] = 0


ClaimRequest = Annotated[ClaimById | ClaimNext, Field(discriminator="by")]


class Claimed(Answer):
    """An order, held at `epoch` for `lease_seconds` from this answer. `callback_token` lets its worker report.

    `lease_until` is the same by the control plane's clock, for information: a launcher's own may tell another time.
    """

    order_id: str
    epoch: int
    lease_until: datetime
    lease_seconds: float
    spec: AnySpec
    callback_token: str


class ClaimAnswer(Answer):
    """`claimed` is null where no order was to be had."""

    claimed: Claimed | None


class Provisioning(Request):
    """The launcher is about to start the machine `vm`."""

    status: Literal["provisioning"] = "provisioning"
    request_id: RequestId
    launcher: Name
    epoch: Epoch
    vm: Name


class AttemptFailed(Request):
    """This attempt is over and its machine is gone; or there was none, for want of capacity."""

    status: Literal["failed"] = "failed"
    request_id: RequestId
    launcher: Name
    epoch: Epoch
    reason: Reason
    message: Text
    failure: Failure


class Returned(Request):
    """The order is handed back unattempted, and burns no attempt."""

    status: Literal["returned"] = "returned"
    request_id: RequestId
    launcher: Name
    epoch: Epoch
    message: Text


class Stopped(Request):
    """The machine of an order that was to be stopped is gone."""

    status: Literal["stopped"] = "stopped"
    request_id: RequestId
    launcher: Name
    epoch: Epoch


class MachineGone(Request):
    """The machine has ended by itself, with this exit code (None: unknown).

    If the order still ran, it is queued again or fails as after any failed attempt. If the order has ended, nothing
    changes, and that is no error.
    """

    status: Literal["machine_gone"] = "machine_gone"
    request_id: RequestId
    launcher: Name
    epoch: Epoch
    exit_code: int | None
    message: Text


UpdateRequest = Annotated[
    Provisioning | AttemptFailed | MachineGone | Returned | Stopped, Field(discriminator="status")
]


class Hold(Request):
    order_id: OrderId
    epoch: Epoch


class HeartbeatRequest(Request):
    """Everything the launcher holds, in one request. Not `attended`: it will leave them once they run."""

    launcher: Name
    holds: Annotated[tuple[Hold, ...], Field(max_length=500)]
    attended: bool = True


class Renewed(Answer):
    """Held for `lease_seconds` more from this answer; `lease_until` is for information, as in a claim's answer."""

    order_id: str
    epoch: int
    lease_until: datetime
    lease_seconds: float
    state: AnyState


class StopOrder(Answer):
    """Stop this machine. `cancelled`: report `stopped` then. `finished`, `lease_lost`, any other: report nothing."""

    order_id: str
    epoch: int
    why: WhyStop


class HeartbeatAnswer(Answer):
    renewed: tuple[Renewed, ...]
    stop: tuple[StopOrder, ...]


class HoldView(Answer):
    """An order that a launcher holds, as the control plane knows it."""

    order_id: str
    epoch: int
    state: AnyState


class HoldsView(Answer):
    """`GET /v1/holds?launcher=`: at most 500."""

    holds: tuple[HoldView, ...]
