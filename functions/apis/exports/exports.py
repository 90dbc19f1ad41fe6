"""For clients: start an export, follow it, and download its file."""

from dataclasses import replace
from functools import partial
from http import HTTPStatus
from typing import Final

from pydantic import BaseModel, ConfigDict
from structlog.contextvars import bind_contextvars

from functions.apis.exports.dialect import NoOutput
from functions.apis.exports.settings import ExportsSettings
from functions.apis.exports.wire import STATUS_OF, ExportRequest, Health, Started, TaskStatus
from functions.domain import request_ids
from functions.domain.access import Role
from functions.domain.limits import POLICIES, OrderLimits
from functions.domain.refusals import Malformed, NotFound
from functions.engine.orders import NewOrder, Orders, fingerprint
from functions.engine.outputs import Outputs
from functions.http.authentication import Open, Principal
from functions.http.routing import Download, Route
from functions.ports.clock import Clock, NewId
from functions.ports.orders import Snapshot
from shared.domain.order import State
from shared.domain.spec import ExportSpec, OrderKind

CLIENTS: Final = frozenset({Role.ADMIN, Role.CLIENT})
NO_TASK: Final = "Task not found"
STARTED: Final = "Export job started. Use task_id to check status."


class DownloadQuery(BaseModel):
    """The query of `GET /download/{task_id}`."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    stream: bool = False


def start_export(
    body: ExportRequest,
    client: Principal,
    orders: Orders,
    settings: ExportsSettings,
    clock: Clock,
    new_id: NewId,
    idempotency_key: str | None,
) -> Started:
    spec = ExportSpec(pi=body.pi, options=body.options.chosen(), image=settings.image, region=settings.region)
    order_id = request_ids.export(clock(), new_id())
    key = request_ids.unkeyed(order_id) if idempotency_key is None else idempotency_key
    limits = limits_of(settings)
    by_operator = client.owner is None
    new = NewOrder(client.account, spec, limits, None, key, fingerprint(body.model_dump_json()), order_id, by_operator)
    order = orders.create(new)
    bind_contextvars(task_id=order.id)
    return Started(task_id=order.id, status=STATUS_OF[order.state], message=STARTED)


def get_status(client: Principal, orders: Orders, task_id: str) -> TaskStatus:
    seen, spec = require_task(orders, task_id, client.owner)
    return TaskStatus.of(seen.order, spec)


def download(query: DownloadQuery, client: Principal, orders: Orders, outputs: Outputs, task_id: str) -> Download:
    """Redirect to the bucket, or send the file with `?stream=true`.

    A deployed function sends at most 32 MiB in one answer (10 MiB in the first generation): a client that cannot follow
    a redirect asks for a larger file in ranges.
    """
    seen, _ = require_task(orders, task_id, client.owner)
    order = seen.order
    if order.state is not State.SUCCEEDED:
        raise Malformed(f"Export not ready or failed. Status: {STATUS_OF[order.state]}")
    output = order.output
    if output is None:
        raise NoOutput("Export file not available")
    stored = outputs.stored(order)
    if stored is None:
        raise NotFound("Export file not found in storage")
    return Download(
        file_name=output.file_name,
        content_type=output.content_type,
        size=stored.size,
        etag=stored.etag,
        read=partial(outputs.bucket.read, output.key),
        url=None if query.stream else outputs.link(order),
    )


def get_health() -> Health:
    return Health()


def require_task(orders: Orders, task_id: str, owner: str | None) -> tuple[Snapshot, ExportSpec]:
    """Return the export and what it asks for. Raises NotFound, also if it belongs to another account."""
    try:
        seen = orders.require_owned(task_id, owner)
    except NotFound:
        raise NotFound(NO_TASK) from None
    if not isinstance(seen.order.spec, ExportSpec):
        raise NotFound(NO_TASK)
    return seen, seen.order.spec


def limits_of(settings: ExportsSettings) -> OrderLimits:
    return replace(POLICIES[OrderKind.EXPORT].limits, run_seconds=settings.run_seconds)


ROUTES: Final = (
    Route("POST", "/export/mods", CLIENTS, start_export, "Start an export", missing=NO_TASK, conflicts=True),
    Route("GET", "/status/{task_id}", CLIENTS, get_status, "Get an export's status", missing=NO_TASK),
    Route(
        "GET",
        "/download/{task_id}",
        CLIENTS,
        download,
        "Download an export's file",
        missing=NO_TASK,
        redirect_status=HTTPStatus.FOUND,
    ),
    Route("GET", "/health", Open.ANYONE, get_health, "Check that the exports' API is ready"),
)
