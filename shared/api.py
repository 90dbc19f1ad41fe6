"""The native wire: what is sent to and answered by `/v1/…`.

A request is read strictly: unknown fields and wrong types are refused. An answer is read by whoever asked, which may be
of an earlier version than the control plane: fields that it does not know are ignored, and a value that was added to a
list since is kept as the text it is.

Times are RFC 3339 in UTC; sizes are bytes; digests are lower-case hex.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from shared.domain.limits import Limits
from shared.domain.order import Failure, Order, Output, Reason, State
from shared.domain.spec import AnySpec, OrderKind
from shared.domain.times import Time

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
Identity = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")]
"""Tells launchers of one name apart: sent with each of a launcher's requests, as IDENTITY_HEADER."""
IDENTITY_HEADER = "Launchyard-Launcher-Identity"
RequestId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._:-]{8,128}$")]
OrderId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,127}$")]
Lane = Annotated[str, StringConstraints(pattern=r"^([a-z0-9:._-]+|[a-z0-9_-]+:\*)/[a-z]+(/[a-z]+)?$", max_length=200)]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
FileName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")]
ContentType = Annotated[str, StringConstraints(pattern=r"^[a-z]+/[a-z0-9.+-]+$", max_length=100)]
Text = Annotated[str, StringConstraints(max_length=4000)]
Epoch = Annotated[int, Field(ge=1)]

MAX_OUTPUT_BYTES = 5 * 1024**3 - 1
"""A single PUT stays below 5 GiB (S3 and R2)."""


class Request(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, defer_build=True)


class Answer(BaseModel):
    """Add fields to it as you like, and values to its lists; take none away, and change no field's type."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True, defer_build=True)


A = TypeVar("A", bound=Answer)

LEFT_TO_RIGHT = Field(union_mode="left_to_right")
AnyState = Annotated[State | str, LEFT_TO_RIGHT]
AnyReason = Annotated[Reason | str, LEFT_TO_RIGHT]
AnyKind = Annotated[OrderKind | str, LEFT_TO_RIGHT]
SpecView = Annotated[AnySpec | Mapping[str, Any], LEFT_TO_RIGHT]
"""A mapping where it is one of a later version."""
WhyStop = Annotated[Literal["cancelled", "finished", "lease_lost"] | str, LEFT_TO_RIGHT]


def read_answer(kind: type[A], document: bytes) -> A:
    """Return the answer that this JSON document is. Raises ValidationError."""
    return kind.model_validate_json(document, extra="ignore")  # also within what requests are made of, such as specs


# --- clients: /v1/orders ---------------------------------------------------------------------------------------------


Seconds = Annotated[float, Field(gt=0, le=30 * 24 * 3600, allow_inf_nan=False)]


class LimitsRequest(Request):
    """What an order is to be limited to, in seconds; what is null is as usual for its kind."""

    queue_ttl_seconds: Seconds | None = None
    """How long it waits for a launcher, at first and after each attempt."""
    boot_timeout_seconds: Seconds | None = None
    """How long after a claim its worker may take to report."""
    run_timeout_seconds: Seconds | None = None
    """How long its worker may run then. Not for capacity orders."""
    ttl_seconds: Seconds | None = None
    """For capacity orders: how long after it was fulfilled its machine is taken back."""
    retention_seconds: Seconds | None = None
    """How long after its end its output is kept."""


class OrderRequest(Request):
    """`POST /v1/orders`; the header `Idempotency-Key` is required. No launcher takes it before `not_before`."""

    order: AnySpec
    limits: LimitsRequest = LimitsRequest()
    not_before: Time | None = None


class LimitsView(Answer):
    """In seconds; one that is null is not set."""

    queue_ttl_seconds: float
    boot_timeout_seconds: float
    run_timeout_seconds: float | None
    ttl_seconds: float | None
    retention_seconds: float

    @classmethod
    def of(cls, limits: Limits, kind: OrderKind) -> Self:
        capacity = kind is OrderKind.CAPACITY
        return cls(
            queue_ttl_seconds=limits.queue_seconds,
            boot_timeout_seconds=limits.boot_seconds,
            run_timeout_seconds=None if capacity else limits.run_seconds,
            ttl_seconds=limits.run_seconds if capacity else None,
            retention_seconds=limits.keep_seconds,
        )


class OutputView(Answer):
    """`file_name` is a plain name: a client may join it to a folder of its own."""

    file_name: FileName
    content_type: str
    size: int
    sha256: str

    @classmethod
    def of(cls, output: Output) -> Self:
        return cls(file_name=output.file_name, content_type=output.content_type, size=output.size, sha256=output.sha256)


class OrderView(Answer):
    """An order as its account sees it. `entered` says when each state was last entered.

    While it waits, it may be claimed from `available_at` until `expires_at`. `discarded_at`: when its
    output was removed.
    """

    id: str
    account: str
    kind: AnyKind
    spec: SpecView
    state: AnyState
    reason: AnyReason | None
    message: str | None
    epoch: int
    attempt: int
    max_attempts: int
    limits: LimitsView
    available_at: datetime
    expires_at: datetime
    cancel_requested: bool
    requeued_from: str | None
    vm: str | None
    output: OutputView | None
    discarded_at: datetime | None
    metrics: Mapping[str, int | float]
    created_at: datetime
    updated_at: datetime
    entered: Mapping[AnyState, datetime]

    @classmethod
    def of(cls, order: Order) -> Self:
        return cls(
            id=order.id,
            account=order.account,
            kind=order.kind,
            spec=order.spec,
            state=order.state,
            reason=order.reason,
            message=order.message,
            epoch=order.epoch,
            attempt=order.attempt,
            max_attempts=order.max_attempts,
            limits=LimitsView.of(order.limits, order.kind),
            available_at=order.available_at,
            expires_at=order.expires_at,
            cancel_requested=order.cancel_requested_at is not None,
            requeued_from=order.requeued_from,
            vm=order.vm,
            output=OutputView.of(order.output) if order.output else None,
            discarded_at=order.discarded_at,
            metrics=order.metrics,
            created_at=order.created_at,
            updated_at=order.updated_at,
            entered={state: at for state, at in order.entered.items()},  # noqa: C416 (keys of a wider type)
        )


class OrderList(Answer):
    """`GET /v1/orders?state=&kind=&limit=&after=`, newest first; pass `next` as `after` for the following page.

    A page of large orders ends before `limit`, at some 8 MiB; the last one has no `next`.
    """

    orders: tuple[OrderView, ...]
    next: str | None


# --- launchers: /v1/claims, /v1/updates, /v1/heartbeats, /v1/holds ----------------------------------------------------


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


UpdateRequest = Annotated[Provisioning | AttemptFailed | Returned | Stopped, Field(discriminator="status")]


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


# --- workers: /v1/callbacks/{order_id} --------------------------------------------------------------------------------


class WorkerStarted(Request):
    event: Literal["started"] = "started"
    epoch: Epoch


class UploadRequest(Request):
    """Ask for one presigned upload of exactly these bytes."""

    event: Literal["upload"] = "upload"
    epoch: Epoch
    file_name: FileName
    content_type: ContentType
    size: Annotated[int, Field(ge=0, le=MAX_OUTPUT_BYTES)]
    sha256: Sha256


class WorkerCompleted(Request):
    """The output was uploaded, and is this."""

    event: Literal["completed"] = "completed"
    epoch: Epoch
    file_name: FileName
    content_type: ContentType
    size: Annotated[int, Field(ge=0, le=MAX_OUTPUT_BYTES)]
    sha256: Sha256
    metrics: Annotated[Mapping[Name, int | float], Field(max_length=50)] = {}


class WorkerFailed(Request):
    event: Literal["failed"] = "failed"
    epoch: Epoch
    reason: Reason
    message: Text
    failure: Literal[Failure.RETRYABLE, Failure.PERMANENT]


CallbackRequest = Annotated[
    WorkerStarted | UploadRequest | WorkerCompleted | WorkerFailed, Field(discriminator="event")
]


class UploadGrant(Answer):
    """PUT the bytes to `url` with exactly these headers."""

    url: str
    headers: Mapping[str, str]


class CallbackAnswer(Answer):
    """`upload` answers an upload request; it is null otherwise."""

    state: AnyState
    upload: UploadGrant | None = None


# --- operators: /v1/sweeps --------------------------------------------------------------------------------------------


class SweepRequest(Request):
    limit: Annotated[int, Field(ge=1, le=1000)] = 200


class SweepAnswer(Answer):
    """How many orders were looked at, and what was done to them. `more`: there may be others due.

    `discarded` counts orders whose output was removed, `keys_forgotten` idempotency keys past their day. Of the
    capacity contract: `pools` seen to, orders `created` and `released` for them, and `records_forgotten`.
    """

    looked_at: int
    rung: int
    requeued: int
    ended: int
    discarded: int
    keys_forgotten: int
    pools: int
    created: int
    released: int
    records_forgotten: int
    more: bool


# --- errors -----------------------------------------------------------------------------------------------------------


class FieldError(Answer):
    field: str
    message: str


class Problem(Answer):
    """RFC 9457, `application/problem+json`; `state` and `errors` where they apply."""

    type: str
    title: str
    status: int
    detail: str
    state: AnyState | None = None
    errors: tuple[FieldError, ...] = ()
