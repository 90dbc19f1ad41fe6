"""For clients: order many exports with one request, and follow them."""

from collections import Counter
from typing import Final

from structlog.contextvars import bind_contextvars

from functions.apis.exports.exports import CLIENTS, limits_of
from functions.apis.exports.settings import ExportsSettings
from functions.apis.exports.wire import (
    STATUS_OF,
    BatchRequest,
    BatchStarted,
    BatchStatus,
    BatchTask,
    ExportStatus,
    TaskCounts,
    milliseconds,
)
from functions.domain import request_ids
from functions.domain.batches import Batch, BatchMember, first_check
from functions.domain.refusals import Invalid
from functions.engine.batches import NO_BATCH, Batches
from functions.engine.order_sets import OrderSet
from functions.engine.orders import fingerprint
from functions.http.authentication import Principal
from functions.http.routing import Route
from functions.ports.clock import Clock, NewId

STARTED: Final = "Export jobs started. Use batch_id or each task_id to check status."


def start_batch(
    body: BatchRequest,
    client: Principal,
    batches: Batches,
    settings: ExportsSettings,
    clock: Clock,
    new_id: NewId,
    idempotency_key: str | None,
) -> BatchStarted:
    """Start an export of each entity. The record of all is stored before the first."""
    repeated = [nth for nth, pi in enumerate(body.pis) if pi in body.pis[:nth]]
    if repeated:
        raise Invalid("Some fields of the body are wrong.", {f"pis.{repeated[0]}": "it is in the list already"})
    now = clock()
    batch_id = request_ids.batch(client.account, idempotency_key or new_id())
    spare = 2 * len(body.pis)  # two ids may be equal
    ids = dict.fromkeys(request_ids.batch_order(batch_id, nth, now) for nth in range(spare))
    batch, seen = batches.create(
        Batch(
            id=batch_id,
            account=client.account,
            options=body.options.chosen(),
            image=settings.image,
            region=settings.region,
            limits=limits_of(settings),
            members=tuple(BatchMember(order_id, pi) for order_id, pi in zip(ids, body.pis, strict=False)),
            fingerprint=fingerprint(body.model_dump_json()),
            created_at=now,
            due_at=first_check(now),
        ),
        by_operator=client.owner is None,
    )
    bind_contextvars(batch_id=batch.id)
    status = _status(batch, seen)
    return BatchStarted(
        batch_id=batch.id,
        status=status.status,
        total=status.total,
        task_ids=tuple(member.order_id for member in batch.members),
        message=STARTED,
    )


def get_batch(client: Principal, batches: Batches, batch_id: str) -> BatchStatus:
    return _status(*batches.get(batch_id, client.owner))


def settle_batches(batches: Batches, limit: int) -> Counter[str]:
    return batches.sweep(limit)


def _status(batch: Batch, seen: OrderSet) -> BatchStatus:
    """Return the batch's status. A task that is not created yet is processing; one that was removed is left out."""
    missing = set(seen.missing(batch.order_ids))
    tasks = tuple(
        BatchTask(task_id=member.order_id, pi=member.pi, status=_status_of(seen, member.order_id))
        for member in batch.members
        if not (batch.complete and member.order_id in missing)
    )
    counts = Counter(task.status for task in tasks)
    ended = ExportStatus.ERROR if counts[ExportStatus.ERROR] else ExportStatus.SUCCESS
    return BatchStatus(
        batch_id=batch.id,
        status=ExportStatus.PROCESSING if counts[ExportStatus.PROCESSING] else ended,
        created_at=milliseconds(batch.created_at),
        total=len(batch.members),
        counts=TaskCounts(**{status.value: counts[status] for status in ExportStatus}),
        tasks=tasks,
    )


def _status_of(seen: OrderSet, order_id: str) -> ExportStatus:
    order = seen.orders.get(order_id)
    return ExportStatus.PROCESSING if order is None else STATUS_OF[order.state]


ROUTES: Final = (
    Route(
        "POST",
        "/export/mods/batch",
        CLIENTS,
        start_batch,
        "Start up to 500 exports",
        missing=NO_BATCH,
        conflicts=True,
    ),
    Route("GET", "/status/batch/{batch_id}", CLIENTS, get_batch, "Get a batch's status", missing=NO_BATCH),
)
