"""For images: report the end of an export. The address that an image is given holds the secret of one attempt."""

from typing import Final

from functions.apis.exports.dialect import missing
from functions.apis.exports.exports import NO_TASK, require_task
from functions.apis.exports.settings import ExportsSettings
from functions.apis.exports.wire import CallbackRequest, ExportStatus, Received
from functions.domain import request_ids
from functions.domain.events import Fail
from functions.domain.refusals import Conflict, Invalid, Malformed, NotFound
from functions.engine.credentials import CallbackTokens
from functions.engine.image_reports import Ignored, ImageReports, ImageUploads, Upload, ignored, log_ignored
from functions.engine.orders import Orders
from functions.http.authentication import Open
from functions.http.routing import NoSuchPath, Route
from functions.ports.orders import Snapshot
from shared.domain.order import Reason

CONTENT_TYPE: Final = "application/xml"
CALLBACK: Final = "/callback/{order_id}/{secret}"
"""The path of the address that an image is given."""
MAX_BYTES: Final = 128 * 1024


def call_back(
    body: CallbackRequest,
    tokens: CallbackTokens,
    orders: Orders,
    reports: ImageReports,
    uploads: ImageUploads,
    task_id: str,
    secret: str,
) -> Received:
    """The secret is verified before the order is read: a wrong one must not reveal whether the task exists."""
    epoch = tokens.epoch_of(task_id, secret)
    if epoch is None:
        log_ignored(Ignored.FORGED, task_id, body.status)
        raise NotFound(NO_TASK)
    return _receive(body, orders, reports, uploads, task_id, epoch)


def call_back_unsigned(
    body: CallbackRequest,
    settings: ExportsSettings,
    orders: Orders,
    reports: ImageReports,
    uploads: ImageUploads,
    task_id: str,
) -> Received:
    """Take a report for the present attempt from anyone, if the deployment allows it. Raises NoSuchPath if not."""
    if not settings.open_callbacks:
        log_ignored(Ignored.FORGED, task_id, body.status)
        raise NoSuchPath
    epoch = _snapshot(body, orders, task_id).order.epoch
    return _receive(body, orders, reports, uploads, task_id, epoch)


def _receive(
    body: CallbackRequest, orders: Orders, reports: ImageReports, uploads: ImageUploads, task_id: str, epoch: int
) -> Received:
    """Apply the report of this epoch, unless the task has ended or the epoch is over: then nothing changes."""
    if body.task_id != task_id:
        log_ignored(Ignored.WRONG_TASK, task_id, body.status)
        raise Invalid("Some fields of the body are wrong.", {"task_id": "not the task of this address"})
    seen = _snapshot(body, orders, task_id)
    request_id = request_ids.worker_report("callback", epoch, body.model_dump_json())
    why = ignored(seen.order, epoch, request_id)
    if why is None and body.status is ExportStatus.SUCCESS:
        why = _accept(body, uploads, seen, epoch, request_id)
    elif why is None and body.status is ExportStatus.ERROR:
        why = reports.apply(seen, Fail(request_id, epoch, Reason.PROGRAM_FAILED, body.error))
    elif why is None:
        raise Invalid("Some fields of the body are wrong.", {"status": "use success or error"})
    if why is not None:
        log_ignored(why, task_id, body.status)
    return Received()


def _snapshot(body: CallbackRequest, orders: Orders, task_id: str) -> Snapshot:
    """Return the export's order. Raises NotFound, also for an order of another kind."""
    try:
        seen, _ = require_task(orders, task_id, owner=None)
    except NotFound:
        log_ignored(Ignored.UNKNOWN_TASK, task_id, body.status)
        raise
    return seen


def _accept(
    body: CallbackRequest, uploads: ImageUploads, seen: Snapshot, epoch: int, request_id: str
) -> Ignored | None:
    """Raises Invalid if the report names no key, or one of another task; Malformed if there is no such object."""
    if not body.output_r2_key:
        raise missing("output_r2_key")
    upload = Upload(body.output_r2_key, body.output_file_name, CONTENT_TYPE)
    try:
        return uploads.accept(seen, epoch, request_id, upload, body.metrics)
    except Invalid:
        log_ignored(Ignored.WRONG_KEY, body.task_id, body.status)
        raise Invalid(
            "Some fields of the body are wrong.", {"output_r2_key": f"use exports/{body.task_id}/<file name>"}
        ) from None
    except Conflict as refusal:
        log_ignored(Ignored.NO_OBJECT, body.task_id, body.status)
        raise Malformed(refusal.message) from None


ROUTES: Final = (
    Route(
        "POST",
        "/callback/{task_id}/{secret}",
        Open.ANYONE,
        call_back,
        "Report the end of an export from its machine",
        max_bytes=MAX_BYTES,
        missing=NO_TASK,
    ),
    Route(
        "POST",
        "/callback/{task_id}",
        Open.ANYONE,
        call_back_unsigned,
        "Report the end of an export without a secret, if the deployment allows it",
        max_bytes=MAX_BYTES,
        missing=NO_TASK,
    ),
)
