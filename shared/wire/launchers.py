"""Models for launchers: `/v1/claims`, `/v1/updates`, `/v1/heartbeats`, `/v1/holds`."""

from collections.abc import Mapping
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
Lane = Annotated[
    str, StringConstraints(pattern=r"^([a-z0-9:._-]+|[a-z0-9_-]+:\*)/[a-z]+(/[a-z0-9._=:+-]+)?$", max_length=200)
]
Lanes = Annotated[tuple[Lane, ...], Field(min_length=1, max_length=128)]
WhyStop = Annotated[Literal["cancelled", "finished", "lease_lost"] | str, LEFT_TO_RIGHT]


class ClaimById(Request):
    """Claim the order of a bell, or if its lane is behind, another order of that lane whose turn it is.

    If `attended` is false, the launcher sends no heartbeats once the order runs.
    """

    by: Literal["id"] = "id"
    request_id: RequestId
    launcher: Name
    order_id: OrderId
    lanes: Lanes
    attended: bool = True


class ClaimNext(Request):
    """Claim any order of these lanes, and wait up to `wait_seconds` for one.

    The lane `<cloud>:*/capacity/<size>` means every datacenter of that cloud.
    """

    by: Literal["next"] = "next"
    request_id: RequestId
    launcher: Name
    lanes: Lanes
    attended: bool = True
    wait_seconds: Annotated[int, Field(ge=0, le=30)] = 0


ClaimRequest = Annotated[ClaimById | ClaimNext, Field(discriminator="by")]


class Claimed(Answer):
    """A claimed order, leased at `epoch` for `lease_seconds` from this answer.

    `callback_token` is the credential of the order's worker. `lease_until` is the end of the lease by the control
    plane's clock. It is for information only, because a launcher's clock may differ.
    """

    order_id: str
    epoch: int
    lease_until: datetime
    lease_seconds: float
    spec: AnySpec
    callback_token: str


class ClaimAnswer(Answer):
    """`claimed` is null if there was no order to claim."""

    claimed: Claimed | None


class Provisioning(Request):
    """The launcher is about to start the machine `vm`."""

    status: Literal["provisioning"] = "provisioning"
    request_id: RequestId
    launcher: Name
    epoch: Epoch
    vm: Name


class MachineRunning(Request):
    """The machine runs an image whose program reports no start of its own."""

    status: Literal["running"] = "running"
    request_id: RequestId
    launcher: Name
    epoch: Epoch


class AttemptFailed(Request):
    """The attempt failed, and its machine is gone. If the host had no capacity, there was no machine."""

    status: Literal["failed"] = "failed"
    request_id: RequestId
    launcher: Name
    epoch: Epoch
    reason: Reason
    message: Text
    failure: Failure


class Returned(Request):
    """The launcher returns the order without an attempt, and none is counted."""

    status: Literal["returned"] = "returned"
    request_id: RequestId
    launcher: Name
    epoch: Epoch
    message: Text


class Stopped(Request):
    """The machine is gone, as the control plane requested."""

    status: Literal["stopped"] = "stopped"
    request_id: RequestId
    launcher: Name
    epoch: Epoch


class MachineGone(Request):
    """The machine has ended by itself, with this exit code (None: unknown).

    If the order still ran, it is queued again or fails as after any failed attempt; a task that names an image ends as
    the exit code says. If the order has ended, nothing changes, and that is no error.
    """

    status: Literal["machine_gone"] = "machine_gone"
    request_id: RequestId
    launcher: Name
    epoch: Epoch
    exit_code: int | None
    message: Text


UpdateRequest = Annotated[
    Provisioning | MachineRunning | AttemptFailed | MachineGone | Returned | Stopped, Field(discriminator="status")
]


class EnvironmentRequest(Request):
    """`POST /v1/environments/{order_id}`: ask for what an image that knows nothing of us needs for this order."""

    launcher: Name
    epoch: Epoch


class EnvironmentAnswer(Answer):
    """The environment variables, among them credentials, and the arguments of the image's entry point."""

    variables: Mapping[str, str] = Field(repr=False)
    arguments: tuple[str, ...]


class Hold(Request):
    order_id: OrderId
    epoch: Epoch


class HeartbeatRequest(Request):
    """All orders that the launcher holds. If `attended` is false, it sends no heartbeats for them once they run."""

    launcher: Name
    holds: Annotated[tuple[Hold, ...], Field(max_length=500)]
    attended: bool = True


class Renewed(Answer):
    """The lease ends `lease_seconds` after this answer. `lease_until` is for information, as in a claim's answer."""

    order_id: str
    epoch: int
    lease_until: datetime
    lease_seconds: float
    state: AnyState


class StopOrder(Answer):
    """Stop this machine. If `why` is `cancelled`, report `stopped` afterwards; otherwise report nothing."""

    order_id: str
    epoch: int
    why: WhyStop


class HeartbeatAnswer(Answer):
    renewed: tuple[Renewed, ...]
    stop: tuple[StopOrder, ...]


class HoldView(Answer):
    """An order that a launcher holds, according to the control plane."""

    order_id: str
    epoch: int
    state: AnyState


class HoldsView(Answer):
    """`GET /v1/holds?launcher=`: at most 500."""

    holds: tuple[HoldView, ...]
