"""The bodies of the agent-jobs contract. Unknown fields are ignored; in answers, what is not known is null."""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

from functions.domain.holder import name_of
from functions.domain.job_launchers import OFFERED_BY_NAME, JobLauncher
from functions.domain.order import Order
from shared.domain.order import State
from shared.domain.spec import MAX_DEMANDED, MAX_PROMPT, AgentName, Label, ProjectDirectory, SessionName, SessionSpec
from shared.wire.base import MAX_TEXT

LauncherId = Annotated[str, StringConstraints(max_length=128)]


class JobType(StrEnum):
    START = "start_session"
    RESUME = "resume_session"


class JobStatus(StrEnum):
    PENDING = "pending"
    CLAIMED = "claimed"
    RUNNING = "running"
    STOPPING = "stopping"
    COMPLETED = "completed"
    FAILED = "failed"
    STOPPED = "stopped"


STATUS_OF: Final[Mapping[State, JobStatus]] = {
    State.QUEUED: JobStatus.PENDING,
    State.CLAIMED: JobStatus.CLAIMED,
    State.PROVISIONING: JobStatus.CLAIMED,
    State.RUNNING: JobStatus.RUNNING,
    State.SUCCEEDED: JobStatus.COMPLETED,
    State.FAILED: JobStatus.FAILED,
    State.EXPIRED: JobStatus.FAILED,
    State.CANCELLED: JobStatus.STOPPED,
}
"""The status of a job that is not to stop. One that is, and has not ended, is `stopping`."""


def status_of(order: Order) -> JobStatus:
    to_stop = order.cancel_requested_at is not None and not order.final
    return JobStatus.STOPPING if to_stop else STATUS_OF[order.state]


def _cut_to(length: int) -> BeforeValidator:
    """Return a validator that shortens a text: its sender acts on no refusal, which would lose the report."""
    return BeforeValidator(lambda value: value[:length] if isinstance(value, str) else value)


class JobsBody(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", defer_build=True)


class RegisterRequest(JobsBody):
    """`POST /launcher/register`. `labels` is ours: what jobs may demand, beside `host=…` and `executor=…`."""

    hostname: Annotated[str, StringConstraints(max_length=255)] | None = None
    project_dir: Annotated[str, StringConstraints(max_length=4096)] | None = None
    executor_type: Annotated[str, StringConstraints(max_length=255)] | None = None
    labels: Annotated[tuple[Label, ...], Field(max_length=OFFERED_BY_NAME)] = ()


class LauncherRequest(JobsBody):
    """A heartbeat, or the report that a job has started or is completed."""

    launcher_id: LauncherId


class FailedRequest(LauncherRequest):
    error: Annotated[str, StringConstraints(max_length=MAX_TEXT), _cut_to(MAX_TEXT)]


class StoppedRequest(LauncherRequest):
    signal: Annotated[str, StringConstraints(max_length=32), _cut_to(32)] = "SIGTERM"


class PollQuery(BaseModel):
    """The query of `GET /launcher/jobs`."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    launcher_id: LauncherId


class DeregisterQuery(BaseModel):
    """The query of `DELETE /launchers/{launcher_id}`. `self` is true if the launcher sends it."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    itself: bool = Field(False, alias="self")


class JobRequest(JobsBody):
    """`POST /jobs`. `labels` is ours: only a launcher that offers all of them gets the job."""

    type: JobType
    session_name: SessionName
    prompt: Annotated[str, StringConstraints(max_length=MAX_PROMPT)]
    agent_name: AgentName | None = None
    project_dir: ProjectDirectory | None = None
    parent_session_name: SessionName | None = None
    labels: Annotated[tuple[Label, ...], Field(max_length=MAX_DEMANDED)] = ()

    def spec(self) -> SessionSpec:
        chosen = self.model_dump(exclude={"type"})
        return SessionSpec(resume=self.type is JobType.RESUME, **chosen)


class Registered(BaseModel):
    launcher_id: str
    poll_endpoint: str = "/launcher/jobs"
    poll_timeout_seconds: int
    heartbeat_interval_seconds: int


class Accepted(BaseModel):
    ok: Literal[True] = True


class JobCreated(BaseModel):
    job_id: str
    status: JobStatus


class JobView(BaseModel):
    job_id: str
    type: JobType
    session_name: str
    agent_name: str | None
    prompt: str
    project_dir: str | None
    parent_session_name: str | None
    status: JobStatus
    launcher_id: str | None
    error: str | None
    created_at: str
    claimed_at: str | None
    started_at: str | None
    completed_at: str | None

    @classmethod
    def of(cls, order: Order, spec: SessionSpec) -> Self:
        """Return the job. The time of a claim that lapsed is left out."""
        status, at = status_of(order), order.entered
        claimed_at = None if order.claimed_by is None else at.get(State.CLAIMED)
        return cls(
            job_id=order.id,
            type=JobType.RESUME if spec.resume else JobType.START,
            session_name=spec.session_name,
            agent_name=spec.agent_name,
            prompt=spec.prompt,
            project_dir=spec.project_dir,
            parent_session_name=spec.parent_session_name,
            status=status,
            launcher_id=None if order.claimed_by is None else name_of(order.claimed_by),
            error=(order.message or f"The job ended: {order.reason}") if status is JobStatus.FAILED else None,
            created_at=order.created_at.isoformat(),
            claimed_at=_text(claimed_at),
            started_at=_text(at.get(State.RUNNING)),
            completed_at=_text(at.get(order.state)) if order.final else None,
        )


def _text(time: datetime | None) -> str | None:
    return None if time is None else time.isoformat()


Only: Any = Field(None, exclude_if=lambda value: value is None)
"""A member that is left out unless it is what the answer is about."""


class PollAnswer(BaseModel):
    """`GET /launcher/jobs`: exactly one of these members. The presence of `stop_jobs` would hide a `job`."""

    deregistered: Annotated[Literal[True] | None, Only] = None
    stop_jobs: Annotated[tuple[str, ...] | None, Only] = None
    job: Annotated[JobView | None, Only] = None


class JobStopped(BaseModel):
    """`POST /jobs/{job_id}/stop`."""

    ok: Literal[True] = True
    job_id: str
    session_name: str
    status: JobStatus
    message: Annotated[str | None, Only] = None
    session_id: Annotated[str | None, Only] = None


class LauncherStatus(StrEnum):
    ONLINE = "online"
    STALE = "stale"


class LauncherView(BaseModel):
    launcher_id: str
    registered_at: str
    last_heartbeat: str
    hostname: str | None
    project_dir: str | None
    executor_type: str | None
    labels: tuple[str, ...]
    status: LauncherStatus
    seconds_since_heartbeat: float

    @classmethod
    def of(cls, launcher: JobLauncher, now: datetime, stale: bool) -> Self:
        return cls(
            launcher_id=launcher.id,
            registered_at=launcher.registered_at.isoformat(),
            last_heartbeat=launcher.last_seen_at.isoformat(),
            hostname=launcher.hostname,
            project_dir=launcher.project_dir,
            executor_type=launcher.executor_type,
            labels=launcher.labels,
            status=LauncherStatus.STALE if stale else LauncherStatus.ONLINE,
            seconds_since_heartbeat=max((now - launcher.last_seen_at).total_seconds(), 0.0),
        )


class Launchers(BaseModel):
    launchers: tuple[LauncherView, ...]


class InitiatedBy(StrEnum):
    ITSELF = "self"
    EXTERNAL = "external"


class Deregistration(BaseModel):
    ok: Literal[True] = True
    message: str
    initiated_by: InitiatedBy
