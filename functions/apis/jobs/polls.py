"""For launchers: wait for a job, or for a command to the launcher."""

from typing import Final

from structlog.contextvars import bind_contextvars

from functions.apis.jobs.dialect import LAUNCHERS
from functions.apis.jobs.settings import JobsSettings
from functions.apis.jobs.wire import JobView, PollAnswer, PollQuery
from functions.domain.order import Order
from functions.engine.job_launchers import JobLaunchers
from functions.engine.job_polls import Deregistered, JobPolls, StopJobs
from functions.http.authentication import Principal
from functions.http.presence import Present
from functions.http.routing import NoContent, Route
from shared.domain.spec import SessionSpec

FAULT_PAUSE: Final = 0.5
"""Seconds by which a poll's answer is held back if the store is unavailable: the launcher polls again at once."""


def poll(
    query: PollQuery,
    caller: Principal,
    launchers: JobLaunchers,
    polls: JobPolls,
    settings: JobsSettings,
    present: Present,
) -> PollAnswer | NoContent:
    """Hold the request until something comes.

    A launcher gives up after three errors in a row, so if the store is unavailable, the answer is empty, too.
    """
    launcher = launchers.require(query.launcher_id, caller.account, settings.stale_after)
    match polls.poll(launcher, caller.datacenters, settings.poll_seconds, present):
        case StopJobs() as stop:
            return PollAnswer(stop_jobs=stop.job_ids)
        case Deregistered():
            return PollAnswer(deregistered=True)
        case Order(spec=SessionSpec() as spec) as order:
            bind_contextvars(job_id=order.id)
            return PollAnswer(job=JobView.of(order, spec))
    return NoContent()


ROUTES: Final = (
    Route(
        "GET",
        "/launcher/jobs",
        LAUNCHERS,
        poll,
        "Wait for a job",
        degraded=NoContent(),
        degraded_pause=FAULT_PAUSE,
        head=False,
    ),
)
