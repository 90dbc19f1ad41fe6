"""For launchers: register, show life, and deregister. For dashboards: list launchers, and deregister them."""

from collections import Counter
from typing import Final

from functions.apis.jobs.dialect import CLIENTS, LAUNCHERS, REPEATS
from functions.apis.jobs.settings import JobsSettings
from functions.apis.jobs.wire import (
    Accepted,
    DeregisterQuery,
    Deregistration,
    InitiatedBy,
    LauncherRequest,
    Launchers,
    LauncherView,
    Registered,
    RegisterRequest,
)
from functions.domain.access import narrowed
from functions.domain.refusals import Forbidden
from functions.engine.job_launchers import NO_LAUNCHER, JobLaunchers
from functions.http.authentication import Principal
from functions.http.paging import fitting
from functions.http.routing import Route
from functions.ports.clock import Clock
from shared.domain.lanes import of_sessions

HEARTBEAT_SECONDS: Final = 60
"""The contract's launcher sends a heartbeat so often, whatever it is told."""
MAX_BYTES: Final = 128 * 1024


def register(
    body: RegisterRequest | None, caller: Principal, launchers: JobLaunchers, settings: JobsSettings
) -> Registered:
    """Refuse a launcher that is limited to datacenters, because no job belongs to one."""
    if not narrowed(of_sessions(()), caller.datacenters):
        raise Forbidden(
            "This key's scope does not include agents' jobs; ask the operator for an account whose scope has `any`"
        )
    asked = body or RegisterRequest()
    launcher = launchers.register(
        caller.account, asked.hostname, asked.project_dir, asked.executor_type, asked.labels, settings.stale_after
    )
    return Registered(
        launcher_id=launcher.id,
        poll_timeout_seconds=settings.poll_seconds,
        heartbeat_interval_seconds=HEARTBEAT_SECONDS,
    )


def heartbeat(body: LauncherRequest, caller: Principal, launchers: JobLaunchers, settings: JobsSettings) -> Accepted:
    launchers.require(body.launcher_id, caller.account, settings.stale_after)
    return Accepted()


def list_launchers(caller: Principal, launchers: JobLaunchers, settings: JobsSettings, clock: Clock) -> Launchers:
    """An operator sees every account's, any other caller those of its own account."""
    now = clock()
    views = (
        LauncherView.of(launcher, now, launcher.stale(now, settings.stale_after))
        for launcher in launchers.list_launchers(caller.owner)
    )
    return Launchers(launchers=fitting(views))


def deregister(
    query: DeregisterQuery, caller: Principal, launchers: JobLaunchers, settings: JobsSettings, launcher_id: str
) -> Deregistration:
    launchers.deregister(launcher_id, caller.owner, query.itself, settings.stale_after)
    if query.itself:
        return Deregistration(message="Launcher deregistered", initiated_by=InitiatedBy.ITSELF)
    message = "The launcher shuts down at its next poll"
    return Deregistration(message=message, initiated_by=InitiatedBy.EXTERNAL)


def settle_launchers(launchers: JobLaunchers, settings: JobsSettings, limit: int) -> Counter[str]:
    """End the running jobs of launchers that are lost, and forget launchers that are gone."""
    return launchers.sweep(settings.stale_after, limit)


ROUTES: Final = (
    Route(
        "POST",
        "/launcher/register",
        LAUNCHERS,
        register,
        "Register a launcher",
        max_bytes=MAX_BYTES,
        repeats=REPEATS,  # one whose registration fails exits
    ),
    Route("POST", "/launcher/heartbeat", LAUNCHERS, heartbeat, "Show that a launcher is alive"),
    Route("GET", "/launchers", CLIENTS | LAUNCHERS, list_launchers, "List launchers"),
    Route(
        "DELETE",
        "/launchers/{launcher_id}",
        CLIENTS | LAUNCHERS,
        deregister,
        "Deregister a launcher",
        missing=NO_LAUNCHER,
    ),
)
