"""Models for clients: `/v1/orders`."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Final

from pydantic import Field

from shared.domain.spec import AnySpec
from shared.wire.base import LEFT_TO_RIGHT, Answer, AnyKind, AnyReason, AnyState, FileName, Request
from shared.wire.times import Time

SpecView = Annotated[AnySpec | Mapping[str, Any], LEFT_TO_RIGHT]
"""It is a mapping if a later version wrote the spec."""


MAX_SECONDS: Final = 30 * 24 * 3600
MIN_WAIT_SECONDS: Final = 10
"""The sweep and the launchers cannot keep up with orders that end sooner than they can be taken or started."""

WaitSeconds = Annotated[float, Field(ge=MIN_WAIT_SECONDS, le=MAX_SECONDS, allow_inf_nan=False)]
Seconds = Annotated[float, Field(ge=1, le=MAX_SECONDS, allow_inf_nan=False)]


class LimitsRequest(Request):
    """The limits of an order, in seconds. A limit that is null has the default for the order's kind."""

    queue_ttl_seconds: WaitSeconds | None = None
    """How long the order may wait for a launcher, at first and after each attempt."""
    boot_timeout_seconds: WaitSeconds | None = None
    """How long after the claim its worker may take to report; for a task's image, after the launcher's own report."""
    run_timeout_seconds: Seconds | None = None
    """How long its worker may run after that. Not for capacity orders."""
    ttl_seconds: Seconds | None = None
    """For capacity orders: how long its machine is kept after the order was fulfilled."""
    retention_seconds: Seconds | None = None
    """How long its output is kept after the order has ended."""


class OrderRequest(Request):
    """`POST /v1/orders`; the header `Idempotency-Key` is required. No launcher can claim it before `not_before`."""

    order: AnySpec
    limits: LimitsRequest = LimitsRequest()
    not_before: Time | None = None


class LimitsView(Answer):
    """The limits of an order, in seconds. A limit that is null does not apply."""

    queue_ttl_seconds: float
    boot_timeout_seconds: float
    run_timeout_seconds: float | None
    ttl_seconds: float | None
    retention_seconds: float


class OutputView(Answer):
    """`file_name` is a plain name, without a path: a client can join it to a folder."""

    file_name: FileName
    content_type: str
    size: int
    sha256: str | None
    """None if another's worker uploaded it, which reports no digest."""


class OrderView(Answer):
    """An order as its account sees it. `entered` has the time at which the order last entered each state.

    While it is queued, launchers can claim it from `available_at` until `expires_at`. `discarded_at` is the time at
    which its output was removed.
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
    launcher: str | None = None
    """The name of the launcher that holds it, or that held it when it ended."""
    vm: str | None
    output: OutputView | None
    discarded_at: datetime | None
    metrics: Mapping[str, int | float]
    progress: Mapping[str, int] = {}
    """What its worker last reported of its work: for an export `entities_done`, `entities_failed`, `entities_found`."""
    created_at: datetime
    updated_at: datetime
    entered: Mapping[AnyState, datetime]


class OrderList(Answer):
    """`GET /v1/orders?state=&kind=&limit=&after=`, newest first; pass `next` as `after` for the following page.

    A page of large orders ends before `limit`, at about 8 MiB. The last page has no `next`.
    """

    orders: tuple[OrderView, ...]
    next: str | None
