"""The scheduler's job that has the sweep run.

https://cloud.google.com/scheduler/docs/reference/rest/v1/projects.locations.jobs
"""

from collections.abc import Iterator
from typing import Any, Final

from deploy.deployment import SWEEP, Deployment
from deploy.google import Google, NotThere
from deploy.rows import Query, Row, Seen, Unseen, missing, see, wrong
from deploy.shapes import CamelDocument

SUBJECT: Final = "schedule"
ROLE: Final = "roles/cloudscheduler.viewer"
ENABLED: Final = "ENABLED"


class OidcToken(CamelDocument):
    service_account_email: str = ""


class HttpTarget(CamelDocument):
    uri: str = ""
    http_method: str = "POST"
    oidc_token: OidcToken | None = None


class RpcStatus(CamelDocument):
    """A code of https://cloud.google.com/apis/design/errors; 0 or none after a success."""

    code: int = 0


class SchedulerJob(CamelDocument):
    state: str = ""
    http_target: HttpTarget = HttpTarget()
    status: RpcStatus = RpcStatus()
    last_attempt_time: str | None = None


ScheduleView = Seen[SchedulerJob | None]


def read(google: Google, deployment: Deployment) -> ScheduleView:
    """Return the job; None if there is none."""
    target, name = deployment.target, deployment.function(SWEEP)

    def job() -> SchedulerJob | None:
        path = f"/v1/projects/{target.project}/locations/{target.region}/jobs/{name}"
        try:
            document: dict[str, Any] = google.get("cloudscheduler", path)
        except NotThere:
            return None
        return SchedulerJob.model_validate(document)

    return see(Query(SUBJECT, name, ROLE), job)


def compare(deployment: Deployment, view: ScheduleView) -> Iterator[Row]:
    name, region = deployment.function(SWEEP), deployment.target.region
    if isinstance(view, Unseen):
        yield view.row
        return
    if view is None:
        yield missing(SUBJECT, name, "there is no such job, so nothing sweeps")
        return
    faults = list(_faults(deployment, view))
    for fault, to_do in faults:
        yield wrong(SUBJECT, name, fault, to_do.format(name=name, region=region))
    if not faults:
        yield Row(SUBJECT, name)


def _faults(deployment: Deployment, job: SchedulerJob) -> Iterator[tuple[str, str]]:
    apply, token = "terraform apply", job.http_target.oidc_token
    if job.state != ENABLED:
        yield f"its state is {job.state or 'not known'}", "gcloud scheduler jobs resume {name} --location={region}"
    if not job.http_target.uri.endswith("/v1/sweeps") or job.http_target.http_method != "POST":
        yield "it does not send POST /v1/sweeps", apply
    if token is None or token.service_account_email != deployment.account("scheduler"):
        yield f"it does not call as {deployment.account('scheduler')}", apply
    if job.last_attempt_time is None:
        yield "it has never run", "gcloud scheduler jobs run {name} --location={region}"
    elif job.status.code:
        yield f"its last attempt failed (code {job.status.code})", "gcloud functions logs read {name} --region={region}"
