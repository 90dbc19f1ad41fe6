"""For clients: create a job, follow it, and stop it."""

from dataclasses import replace
from typing import Final

from structlog.contextvars import bind_contextvars

from functions.apis.jobs.dialect import CLIENTS, StopFailed
from functions.apis.jobs.settings import JobsSettings
from functions.apis.jobs.wire import JobCreated, JobRequest, JobStatus, JobStopped, JobView, status_of
from functions.domain import request_ids
from functions.domain.limits import POLICIES, OrderLimits
from functions.domain.order import Order
from functions.domain.refusals import Malformed, NotFound, WrongState
from functions.engine.agent_sessions import AgentSessions
from functions.engine.cancellations import Cancellations
from functions.engine.job_launchers import JobLaunchers
from functions.engine.job_reports import NO_JOB
from functions.engine.orders import NewOrder, Orders, fingerprint
from functions.http.authentication import Principal
from functions.http.routing import Route
from functions.ports.clock import NewId
from shared.domain.spec import OrderKind, SessionSpec

MAX_BYTES: Final = 1024 * 1024
NEVER_RAN: Final = "Job cancelled before execution"
STOPPABLE: Final = frozenset({JobStatus.PENDING, JobStatus.CLAIMED, JobStatus.RUNNING})


def create_job(
    body: JobRequest,
    client: Principal,
    orders: Orders,
    settings: JobsSettings,
    new_id: NewId,
    idempotency_key: str | None,
) -> JobCreated:
    job_id = request_ids.job(new_id())
    key = request_ids.unkeyed(job_id) if idempotency_key is None else idempotency_key
    limits = _limits_of(body, settings)
    by_operator = client.owner is None
    new = NewOrder(
        client.account, body.spec(), limits, None, key, fingerprint(body.model_dump_json()), job_id, by_operator
    )
    order = orders.create(new)
    bind_contextvars(job_id=order.id)
    return JobCreated(job_id=order.id, status=status_of(order))


def get_job(client: Principal, orders: Orders, job_id: str) -> JobView:
    return JobView.of(*require_job(orders, job_id, client.owner))


def stop_job(
    client: Principal,
    orders: Orders,
    launchers: JobLaunchers,
    cancellations: Cancellations,
    sessions: AgentSessions,
    job_id: str,
) -> JobStopped:
    """Raises NotFound, Malformed if the job has ended or is to stop already, StopFailed."""
    order, spec = require_job(orders, job_id, client.owner)
    if status_of(order) not in STOPPABLE:
        raise _not_stoppable(order)
    if not launchers.may_be_stopped(order):
        raise StopFailed("Failed to queue stop command")
    session = sessions.newest(order.account, spec.session_name)
    try:
        order = cancellations.cancel(job_id, client.owner)
    except WrongState:
        raise _not_stoppable(orders.require_owned(job_id, None).order) from None
    status = status_of(order)
    message = NEVER_RAN if status is JobStatus.STOPPED else None
    return JobStopped(
        job_id=order.id,
        session_name=spec.session_name,
        status=status,
        message=message,
        session_id=None if session is None else session.id,
    )


def require_job(orders: Orders, job_id: str, owner: str | None) -> tuple[Order, SessionSpec]:
    """Return the job and what it asks for. Raises NotFound, also if it belongs to another account."""
    try:
        order = orders.require_owned(job_id, owner).order
    except NotFound:
        raise NotFound(NO_JOB) from None
    if not isinstance(order.spec, SessionSpec):
        raise NotFound(NO_JOB)
    return order, order.spec


def _not_stoppable(order: Order) -> Malformed:
    return Malformed(f"Job cannot be stopped (status: {status_of(order)})")


def _limits_of(body: JobRequest, settings: JobsSettings) -> OrderLimits:
    limits = POLICIES[OrderKind.SESSION].limits
    return replace(limits, queue_seconds=settings.unmatched_seconds) if body.labels else limits


ROUTES: Final = (
    Route("POST", "/jobs", CLIENTS, create_job, "Create a job", max_bytes=MAX_BYTES, missing=NO_JOB, conflicts=True),
    Route("GET", "/jobs/{job_id}", CLIENTS, get_job, "Get a job", missing=NO_JOB),
    Route("POST", "/jobs/{job_id}/stop", CLIENTS, stop_job, "Stop a job", missing=NO_JOB),
)
