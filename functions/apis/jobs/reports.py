"""For launchers: report that a job has started, is completed, has failed, or was stopped.

A launcher repeats no report, and acts on no refusal: one that must change nothing is accepted, and logged. While the
store is unavailable, a report is tried again here.
"""

from collections.abc import Callable
from typing import Final

from functions.apis.jobs.dialect import LAUNCHERS, REPEATS
from functions.apis.jobs.settings import JobsSettings
from functions.apis.jobs.wire import Accepted, FailedRequest, LauncherRequest, StoppedRequest
from functions.engine.job_reports import NO_JOB, JobReport, JobReports, ReportKind
from functions.http.authentication import Principal
from functions.http.routing import Route

MAX_BYTES: Final = 64 * 1024
MAX_ERROR_BYTES: Final = 1024 * 1024
"""A launcher sends all that the job's process wrote to its standard error."""


def started(
    body: LauncherRequest, caller: Principal, reports: JobReports, settings: JobsSettings, job_id: str
) -> Accepted:
    reports.apply(body.launcher_id, caller.account, settings.stale_after, job_id, JobReport(ReportKind.STARTED))
    return Accepted()


def completed(
    body: LauncherRequest, caller: Principal, reports: JobReports, settings: JobsSettings, job_id: str
) -> Accepted:
    reports.apply(body.launcher_id, caller.account, settings.stale_after, job_id, JobReport(ReportKind.COMPLETED))
    return Accepted()


def failed(
    body: FailedRequest, caller: Principal, reports: JobReports, settings: JobsSettings, job_id: str
) -> Accepted:
    reports.apply(
        body.launcher_id, caller.account, settings.stale_after, job_id, JobReport(ReportKind.FAILED, body.error)
    )
    return Accepted()


def stopped(
    body: StoppedRequest, caller: Principal, reports: JobReports, settings: JobsSettings, job_id: str
) -> Accepted:
    """If nobody asked for the stop, the job has failed."""
    message = f"Its launcher stopped it with {body.signal}."
    reports.apply(
        body.launcher_id, caller.account, settings.stale_after, job_id, JobReport(ReportKind.STOPPED, message)
    )
    return Accepted()


def _route(kind: ReportKind, handler: Callable[..., Accepted], summary: str, max_bytes: int = MAX_BYTES) -> Route:
    path = f"/launcher/jobs/{{job_id}}/{kind}"
    return Route("POST", path, LAUNCHERS, handler, summary, max_bytes=max_bytes, missing=NO_JOB, repeats=REPEATS)


ROUTES: Final = (
    _route(ReportKind.STARTED, started, "Report a job's start"),
    _route(ReportKind.COMPLETED, completed, "Report a job's success"),
    _route(ReportKind.FAILED, failed, "Report a job's failure", MAX_ERROR_BYTES),
    _route(ReportKind.STOPPED, stopped, "Report that a job was stopped"),
)
