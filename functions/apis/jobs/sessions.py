"""For executors: create a session, report its events, and change it. For clients: read its status, result and events.

The account of the session's job reaches it, and that of the launcher whose key the executor sends.
"""

import json
from collections import Counter
from dataclasses import replace
from datetime import datetime
from typing import Final

from pydantic import TypeAdapter

from functions.apis.jobs.dialect import CLIENTS, LAUNCHERS
from functions.apis.jobs.jobs import NEVER_RAN
from functions.apis.jobs.session_wire import (
    DeletedSession,
    EventAccepted,
    EventList,
    Metadata,
    SessionAnswer,
    SessionChanged,
    SessionEvent,
    SessionId,
    SessionList,
    SessionRequest,
    SessionResult,
    SessionState,
    SessionStateAnswer,
    SessionStopped,
    SessionView,
    assistant_text_of,
)
from functions.apis.jobs.wire import JobStatus, status_of
from functions.domain.agent_sessions import (
    MAX_EVENT_BYTES,
    AgentSession,
    EventType,
    SessionStatus,
    StoredEvent,
    key_of,
    resumed,
)
from functions.domain.refusals import Malformed, NotFound, WrongState
from functions.engine.agent_sessions import NO_SESSION, AgentSessions, NewSession
from functions.engine.cancellations import Cancellations
from functions.engine.parent_notices import ParentNotices
from functions.engine.session_jobs import SessionJobs
from functions.http.authentication import Principal
from functions.http.routing import Route
from shared.domain.spec import SessionName

CALLERS: Final = CLIENTS | LAUNCHERS
SESSION_ID: Final = TypeAdapter(SessionId)
NAME: Final = TypeAdapter(SessionName)


def create_session(body: SessionRequest, caller: Principal, sessions: AgentSessions) -> SessionChanged:
    new = NewSession(body.session_id, body.session_name, body.project_dir, body.agent_name, body.parent_session_name)
    return SessionChanged(session=SessionView.of(sessions.create(caller.account, new)))


def list_sessions(caller: Principal, sessions: AgentSessions) -> SessionList:
    return SessionList(sessions=tuple(map(SessionView.of, sessions.all(caller.account))))


def get_session(caller: Principal, sessions: AgentSessions, session_id: str) -> SessionAnswer:
    return SessionAnswer(session=SessionView.of(sessions.get(caller.account, session_id)))


def get_session_by_name(caller: Principal, sessions: AgentSessions, session_name: str) -> SessionAnswer:
    return SessionAnswer(session=SessionView.of(sessions.get_by_name(caller.account, session_name)))


def get_status(caller: Principal, sessions: AgentSessions, session_id: str) -> SessionStateAnswer:
    try:
        session = sessions.get(caller.account, session_id)
    except NotFound:
        return SessionStateAnswer(status=SessionState.NOT_EXISTENT)
    return SessionStateAnswer(status=SessionState(session.status))


def get_result(caller: Principal, sessions: AgentSessions, session_id: str) -> SessionResult:
    session = sessions.get(caller.account, session_id)
    if session.status is not SessionStatus.FINISHED:
        raise Malformed("Session not finished")
    if session.result is None:
        raise NotFound("No result found")
    return SessionResult(result=session.result)


def list_events(caller: Principal, sessions: AgentSessions, session_id: str) -> EventList:
    return EventList(events=tuple(json.loads(event.text) for event in sessions.events(caller.account, session_id)))


def add_event(
    body: SessionEvent, caller: Principal, sessions: AgentSessions, notices: ParentNotices, session_id: str
) -> EventAccepted:
    if body.session_id != session_id:
        raise Malformed("Event session_id must match URL session_id")
    event = StoredEvent(body.event_type, body.model_dump_json(exclude_unset=True))
    session = sessions.add_event(caller.account, session_id, event, assistant_text_of(body))
    if event.type is EventType.SESSION_STOP:
        notices.deliver(session.account, session.name)
    return EventAccepted()


def change_metadata(body: Metadata, caller: Principal, sessions: AgentSessions, session_id: str) -> SessionChanged:
    given = {name: value for name, value in body.model_dump().items() if value is not None}
    name = given.pop("session_name", None)

    def change(session: AgentSession, now: datetime) -> AgentSession:
        changed = replace(session, **given)
        if name is not None:
            changed = replace(changed, name=name, named=key_of(session.account, name))
        if "last_resumed_at" in given and session.last_resumed_at != changed.last_resumed_at:
            changed = resumed(changed, now)
        return changed

    return SessionChanged(session=SessionView.of(sessions.update(caller.account, session_id, change)))


def delete_session(caller: Principal, sessions: AgentSessions, session_id: str) -> DeletedSession:
    sessions.delete(caller.account, session_id)
    return DeletedSession(session_id=session_id)


def stop_session(
    caller: Principal,
    sessions: AgentSessions,
    jobs: SessionJobs,
    cancellations: Cancellations,
    session_id: str,
) -> SessionStopped:
    """Stop the session's job: the one that runs, else the newest that waits. A session without one is left as it is."""
    session = sessions.get(caller.account, session_id)
    if session.account != caller.account:
        raise NotFound(NO_SESSION)
    answer = SessionStopped(
        job_id=None,
        session_id=session.id,
        session_name=session.name,
        status=session.status,
        message="The session has no job that runs or waits; nothing was stopped.",
    )
    job = jobs.to_stop(session.account, session.name)
    if job is None:
        return answer
    try:
        job = cancellations.cancel(job.id, session.account)
    except (NotFound, WrongState):
        return answer  # it has just ended
    status = status_of(job)
    message = NEVER_RAN if status is JobStatus.STOPPED else "The launcher receives the stop command at its next poll."
    return answer.model_copy(update={"job_id": job.id, "status": status, "message": message})


def settle_notices(notices: ParentNotices, limit: int) -> Counter[str]:
    return notices.sweep(limit)


def forget_sessions(sessions: AgentSessions, limit: int) -> Counter[str]:
    return Counter(records_forgotten=sessions.forget(limit))


CHORES: Final = (settle_notices, forget_sessions)
ROUTES: Final = (
    Route("POST", "/sessions", CALLERS, create_session, "Create a session", missing=NO_SESSION, conflicts=True),
    Route("GET", "/sessions", CALLERS, list_sessions, "List the newest sessions"),
    Route(
        "GET",
        "/sessions/by-name/{session_name}",
        CALLERS,
        get_session_by_name,
        "Get the newest session of a name",
        missing=NO_SESSION,
        ids=NAME,
    ),
    Route("GET", "/sessions/{session_id}", CALLERS, get_session, "Get a session", missing=NO_SESSION, ids=SESSION_ID),
    Route(
        "GET",
        "/sessions/{session_id}/status",
        CALLERS,
        get_status,
        "Get whether a session runs",
        missing=NO_SESSION,
        ids=SESSION_ID,
    ),
    Route(
        "GET",
        "/sessions/{session_id}/result",
        CALLERS,
        get_result,
        "Get a session's last message",
        missing=NO_SESSION,
        ids=SESSION_ID,
    ),
    Route(
        "GET",
        "/sessions/{session_id}/events",
        CALLERS,
        list_events,
        "List a session's events",
        missing=NO_SESSION,
        ids=SESSION_ID,
    ),
    Route(
        "POST",
        "/sessions/{session_id}/events",
        CALLERS,
        add_event,
        "Report an event of a session",
        missing=NO_SESSION,
        ids=SESSION_ID,
        max_bytes=MAX_EVENT_BYTES,
    ),
    Route(
        "PATCH",
        "/sessions/{session_id}/metadata",
        CALLERS,
        change_metadata,
        "Change a session",
        missing=NO_SESSION,
        ids=SESSION_ID,
    ),
    Route(
        "DELETE",
        "/sessions/{session_id}",
        CALLERS,
        delete_session,
        "Remove a session and its events",
        missing=NO_SESSION,
        ids=SESSION_ID,
    ),
    Route(
        "POST",
        "/sessions/{session_id}/stop",
        CALLERS,
        stop_session,
        "Stop the job of a session",
        missing=NO_SESSION,
        ids=SESSION_ID,
    ),
)
