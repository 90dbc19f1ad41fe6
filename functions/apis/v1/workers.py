"""For workers: started, an upload, completed, failed. A worker's token reaches one order at one epoch."""

from typing import Any, Final

from pydantic import TypeAdapter

from functions.app import App
from functions.domain.events import Fail, Retry, Start, Succeed
from functions.domain.order import UPLOAD_VALID, Order, Output, output_key
from functions.domain.refusals import Conflict, Invalid, LeaseLost, Unauthenticated, WrongState
from functions.domain.rules import advance
from functions.engine import request_ids
from functions.engine.leases import fence, find
from functions.http.authentication import Bearer, Open
from functions.http.routing import Route
from functions.ports import OutputBucket, Snapshot, UploadTerms
from shared.crash_points import Point, reach
from shared.domain.order import Failure, Reason, State
from shared.domain.spec import OrderKind
from shared.wire.workers import (
    CallbackAnswer,
    CallbackRequest,
    UploadGrant,
    UploadRequest,
    WorkerCompleted,
    WorkerFailed,
    WorkerStarted,
)

WORKER_REASONS: Final = frozenset(
    {Reason.PROGRAM_FAILED, Reason.SOURCE_UNAVAILABLE, Reason.UPLOAD_FAILED, Reason.OUTPUT_MISMATCH}
)


def report(body: CallbackRequest, worker: Bearer, app: App, order_id: str) -> CallbackAnswer:
    """The token is checked before the order is looked for: a wrong one does not learn whether there is one."""
    if not app.tokens.verify(order_id, body.epoch, worker.token):
        raise Unauthenticated("This token is not the one of this order and epoch.")
    seen = find(app.store, order_id)
    fence(seen.order, body.epoch)
    match body:
        case WorkerStarted():
            _require_lease(seen.order, body.epoch)
            return _start(body, seen, app)
        case UploadRequest():
            return _upload(body, seen.order, app)
        case WorkerCompleted():
            return _complete(body, seen, app)
        case WorkerFailed():
            return _fail(body, seen, app)


def _start(body: WorkerStarted, seen: Snapshot, app: App) -> CallbackAnswer:
    """One that runs already was made to by its machine's agent."""
    try:
        order = app.store.apply(
            seen.order.id, Start(request_ids.worker_started(body.epoch), body.epoch), app.clock(), seen
        )
    except WrongState as refusal:
        if refusal.state != State.RUNNING:
            raise
        return CallbackAnswer(state=State.RUNNING)
    reach(Point.CALLBACK_STARTED)
    return CallbackAnswer(state=order.state)


def _upload(body: UploadRequest, order: Order, app: App) -> CallbackAnswer:
    _require_output(order)
    if order.final:
        raise WrongState(f"The order is {order.state}; nothing more is uploaded.", state=order.state)
    _require_lease(order, body.epoch)
    key = output_key(order.id, body.epoch)
    terms = UploadTerms(key, body.content_type, body.size, body.sha256)
    grant = app.bucket.presign_upload(terms, UPLOAD_VALID)
    return CallbackAnswer(state=order.state, upload=UploadGrant(url=grant.url, headers=grant.headers))


def _complete(body: WorkerCompleted, seen: Snapshot, app: App) -> CallbackAnswer:
    """The order's rules speak first: a repeat is not held against a bucket that was emptied since."""
    order, now = seen.order, app.clock()
    _require_output(order)
    key = output_key(order.id, body.epoch)
    output = Output(key, body.file_name, body.content_type, body.size, body.sha256)
    event = Succeed(_request_id(body), body.epoch, output, body.metrics)
    if advance(order, event, now) is not order:
        _require_object(output, app.bucket)
        order = app.store.apply(order.id, event, now, seen)
        reach(Point.CALLBACK_COMPLETED)
    return CallbackAnswer(state=order.state)


def _fail(body: WorkerFailed, seen: Snapshot, app: App) -> CallbackAnswer:
    if body.reason not in WORKER_REASONS:
        raise Invalid("The body's fields are not as they should be.", {"reason": "Not a worker's reason to give"})
    kind = Retry if body.failure is Failure.RETRYABLE else Fail
    event = kind(_request_id(body), body.epoch, body.reason, body.message)
    order = app.store.apply(seen.order.id, event, app.clock(), seen)
    reach(Point.CALLBACK_FAILED)
    return CallbackAnswer(state=order.state)


def _require_lease(order: Order, epoch: int) -> None:
    """An epoch that was the last one claimed may be over all the same: its worker is to stop."""
    if order.lease is None and not order.final:
        raise LeaseLost(f"The lease of epoch {epoch} is over; the order waits to be claimed again.")


def _request_id(body: WorkerCompleted | WorkerFailed) -> str:
    return request_ids.worker_report(body.event, body.epoch, body.model_dump_json())


def _require_output(order: Order) -> None:
    if order.kind is OrderKind.CAPACITY:
        raise Conflict("A capacity order has no output; its worker reports only that it started.")


def _require_object(output: Output, bucket: OutputBucket) -> None:
    found = bucket.stat(output.key)
    if found is None:
        raise Conflict(f"There is no object {output.key} in the bucket; upload it first.")
    if (found.size, found.sha256) != (output.size, output.sha256):
        raise Conflict(
            f"The object {output.key} has {found.size} bytes and the SHA-256 {found.sha256}, "
            f"not {output.size} bytes and {output.sha256} as reported."
        )


BODY: Final[TypeAdapter[Any]] = TypeAdapter(CallbackRequest)

ROUTES: Final = (
    Route(
        "POST",
        "/v1/callbacks/{order_id}",
        Open.WORKER,
        report,
        "Report from inside the machine",
        conflicts=True,
    ),
)
