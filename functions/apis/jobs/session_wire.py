"""The bodies of the sessions' routes."""

from enum import StrEnum
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from functions.apis.jobs.wire import JobsBody, JobStatus
from functions.domain.agent_sessions import AgentSession, EventType, SessionStatus
from shared.domain.spec import SessionName

ASSISTANT: Final = "assistant"
TEXT: Final = "text"

SessionId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.:@=+~-]{0,199}$")]
"""Chosen by the executor. It needs no quoting in a path."""
Short = Annotated[str, StringConstraints(max_length=200)]
Directory = Annotated[str, StringConstraints(max_length=4096)]


class JobsAnswer(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)


class SessionRequest(JobsBody):
    session_id: SessionId
    session_name: SessionName
    project_dir: Directory | None = None
    agent_name: Short | None = None
    parent_session_name: Short | None = None


class Metadata(JobsBody):
    """The changes of a session; null changes nothing. A new `last_resumed_at` says that it runs again."""

    session_name: SessionName | None = None
    project_dir: Directory | None = None
    agent_name: Short | None = None
    last_resumed_at: Short | None = None


class SessionEvent(JobsBody):
    """What an executor reports. Its size is limited as a whole, because tools take and return any JSON."""

    event_type: EventType
    session_id: Short
    session_name: Short
    timestamp: Short
    tool_name: Short | None = None
    tool_input: Any = None
    tool_output: Any = None
    error: Any = None
    exit_code: int | None = None
    reason: Short | None = None
    role: Short | None = None
    content: Annotated[tuple[dict[str, Any], ...], Field(max_length=1000)] | None = None


def assistant_text_of(event: SessionEvent) -> str | None:
    """Return the text of a message of the assistant; None for any other event."""
    if event.event_type is not EventType.MESSAGE or event.role != ASSISTANT:
        return None
    texts = [part.get("text") for part in event.content or () if part.get("type") == TEXT]
    return "\n".join(text for text in texts if isinstance(text, str)) or None


class SessionView(JobsAnswer):
    session_id: str
    session_name: str
    status: SessionStatus
    created_at: str
    last_resumed_at: str | None
    project_dir: str | None
    agent_name: str | None
    parent_session_name: str | None

    @classmethod
    def of(cls, session: AgentSession) -> Self:
        return cls(
            session_id=session.id,
            session_name=session.name,
            status=session.status,
            created_at=session.created_at.isoformat(),
            last_resumed_at=session.last_resumed_at,
            project_dir=session.project_dir,
            agent_name=session.agent_name,
            parent_session_name=session.parent_session_name,
        )


class SessionAnswer(JobsAnswer):
    session: SessionView


class SessionChanged(JobsAnswer):
    ok: Literal[True] = True
    session: SessionView


class SessionList(JobsAnswer):
    sessions: tuple[SessionView, ...]


class SessionState(StrEnum):
    RUNNING = "running"
    FINISHED = "finished"
    NOT_EXISTENT = "not_existent"


class SessionStateAnswer(JobsAnswer):
    status: SessionState


class SessionResult(JobsAnswer):
    result: str


class EventList(JobsAnswer):
    events: tuple[Any, ...]


class EventAccepted(JobsAnswer):
    ok: Literal[True] = True


class DeletedSession(JobsAnswer):
    ok: Literal[True] = True
    session_id: str


class SessionStopped(JobsAnswer):
    """`status` is that of the job in the contract's words, or the session's if it has no job to stop."""

    ok: Literal[True] = True
    job_id: str | None
    session_id: str
    session_name: str
    status: JobStatus | SessionStatus
    message: str
