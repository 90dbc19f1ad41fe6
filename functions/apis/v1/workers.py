"""For workers: report that they started, completed or failed, and ask for an upload.

A worker's token is valid for one order at one epoch.
"""

from typing import Final

from functions.domain import request_ids
from functions.domain.events import Fail, Progress, Retry
from functions.domain.order import Order, Output, output_key
from functions.domain.refusals import Invalid, Unauthenticated
from functions.engine.credentials import CallbackTokens
from functions.engine.environments import Environments
from functions.engine.leases import Leases
from functions.engine.outputs import GrantedParts, Outputs
from functions.http.authentication import Bearer, Open
from functions.http.routing import Route
from functions.ports.outputs import PresignedUpload, UploadTerms
from shared.domain.order import Failure, Reason, State
from shared.domain.spec import OrderKind
from shared.wire.workers import (
    CallbackAnswer,
    CallbackRequest,
    PartGrant,
    PartsGrant,
    PartsRequest,
    UploadGrant,
    UploadRequest,
    WorkerCompleted,
    WorkerFailed,
    WorkerProgress,
    WorkerStarted,
)

WORKER_REASONS: Final = frozenset(
    {Reason.PROGRAM_FAILED, Reason.SOURCE_UNAVAILABLE, Reason.UPLOAD_FAILED, Reason.OUTPUT_MISMATCH}
)


def report(
    body: CallbackRequest,
    worker: Bearer,
    tokens: CallbackTokens,
    leases: Leases,
    outputs: Outputs,
    environments: Environments,
    order_id: str,
) -> CallbackAnswer:
    """The token is verified before the order is read: a wrong token must not reveal whether the order exists."""
    if not tokens.verify(order_id, body.epoch, worker.token):
        raise Unauthenticated("This token does not belong to this order and epoch.")
    match body:
        case WorkerStarted():
            return _started(leases.worker_started(order_id, body.epoch), environments)
        case WorkerProgress():
            progress = Progress(request_ids.worker_progress(body.epoch), body.epoch, body.progress)
            return CallbackAnswer(state=leases.worker_progressed(order_id, progress).state)
        case UploadRequest():
            state, upload = outputs.grant_upload(order_id, body.epoch, _terms(order_id, body))
            return CallbackAnswer(state=state, upload=UploadGrant(url=upload.url, headers=upload.headers))
        case PartsRequest():
            return _granted(*outputs.grant_parts(order_id, body.epoch, _terms(order_id, body), body.upload_id))
        case WorkerCompleted():
            key, request_id = output_key(order_id, body.epoch, body.sha256, body.content_type), _request_id(body)
            output = Output(key, body.file_name, body.content_type, body.size, body.sha256)
            order = outputs.complete(order_id, body.epoch, request_id, output, body.metrics, body.upload_id)
            return CallbackAnswer(state=order.state)
        case WorkerFailed():
            if body.reason not in WORKER_REASONS:
                raise Invalid("Some fields of the body are wrong.", {"reason": "A worker cannot give this reason"})
            event = Retry if body.failure is Failure.RETRYABLE else Fail
            failed = event(_request_id(body), body.epoch, body.reason, body.message)
            return CallbackAnswer(state=leases.worker_failed(order_id, failed).state)


def _started(order: Order, environments: Environments) -> CallbackAnswer:
    """A task's command gets its environment only now that its worker runs. Our export program needs none."""
    if order.kind is not OrderKind.TASK or order.final:
        return CallbackAnswer(state=order.state)
    return CallbackAnswer(state=order.state, environment=environments.of(order).variables)


def _terms(order_id: str, body: UploadRequest | PartsRequest) -> UploadTerms:
    key = output_key(order_id, body.epoch, body.sha256, body.content_type)
    return UploadTerms(key, body.content_type, body.size, body.sha256)


def _granted(state: State, granted: PresignedUpload | GrantedParts) -> CallbackAnswer:
    if isinstance(granted, PresignedUpload):
        return CallbackAnswer(state=state, upload=UploadGrant(url=granted.url, headers=granted.headers))
    parts = tuple(
        PartGrant(number=part.number, offset=part.offset, size=part.size, url=upload.url, headers=upload.headers)
        for part, upload in granted.parts
    )
    return CallbackAnswer(
        state=state, parts=PartsGrant(upload_id=granted.upload_id, missing=granted.missing, parts=parts)
    )


def _request_id(body: WorkerCompleted | WorkerFailed) -> str:
    return request_ids.worker_report(body.event, body.epoch, body.model_dump_json())


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
