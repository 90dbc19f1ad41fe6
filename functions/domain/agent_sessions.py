"""Sessions of agents, as their executors report them: a name, a status, the last message, and pages of events."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from functions.domain.order import Order

MAX_EVENT_BYTES: Final = 128 * 1024
"""The limit of one event, as JSON."""
PAGE_BYTES: Final = 128 * 1024
"""A page of events ends before this size, so that it fits into one document of the store (1 MiB)."""
WHOLE_PAGES: Final = 16
"""The number of newest pages that keep every event. Older ones keep the messages, and no event of a tool."""
MAX_PAGES: Final = 64
"""The number of pages that a session keeps: 8 MiB. The oldest page is dropped for a new one."""
NOTE_INTERVAL: Final = timedelta(minutes=5)
"""An event that changes nothing else of its session records its time at most this often."""
SILENT_AFTER: Final = timedelta(days=1)
"""A session that runs without a job, and sent no event for this long, counts as finished."""
SESSION_TTL: Final = timedelta(days=90)
"""How long a session is kept after its last event."""


class SessionStatus(StrEnum):
    RUNNING = "running"
    FINISHED = "finished"


class EventType(StrEnum):
    SESSION_START = "session_start"
    PRE_TOOL = "pre_tool"
    POST_TOOL = "post_tool"
    SESSION_STOP = "session_stop"
    MESSAGE = "message"


OF_TOOLS: Final = frozenset({EventType.PRE_TOOL, EventType.POST_TOOL})


@dataclass(frozen=True, slots=True)
class AgentSession:
    """Stored under its `key`. `id` is the executor's own, and unique in its account.

    The account is the one whose job started the session; the reporter is the account whose key the executor sends, a
    launcher's perhaps. Both may reach it.
    """

    id: str
    account: str
    reported: str
    """`key_of` of the reporter and the id, to look for."""
    name: str
    named: str
    """`key_of` of the account and the name, to look for."""
    created_at: datetime
    running_since: datetime
    """When it was created or last resumed."""
    heard_at: datetime
    status: SessionStatus = SessionStatus.RUNNING
    last_resumed_at: str | None = None
    """As the executor wrote it."""
    project_dir: str | None = None
    agent_name: str | None = None
    parent_session_name: str | None = None
    result: str | None = None
    """The text of the last message of the assistant."""
    result_at: datetime | None = None
    first_page: int = 0
    last_page: int = 0
    reporter: str = ""
    """Not read: instances of the previous version cannot read a record without it."""

    @property
    def key(self) -> str:
        return key_of(self.account, self.id)

    @property
    def pages_key(self) -> str:
        """Names the session among all that ever had its id, so that none shows an earlier one's events."""
        return f"{self.key}\n{self.created_at.isoformat()}"

    def page_id(self, number: int) -> str:
        return f"{self.pages_key}\n{number}"


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """An event as its JSON text: its tools' values may be any JSON, which no document of the store can hold."""

    type: EventType
    text: str


@dataclass(frozen=True, slots=True)
class EventPage:
    """Some consecutive events of a session. `session` is its `pages_key`."""

    session: str
    number: int
    events: tuple[StoredEvent, ...]

    def with_event(self, event: StoredEvent) -> "EventPage":
        """Return the page with the event; the same page if it is there already, or if there is no room for it."""
        size = sum(len(one.text.encode()) for one in self.events)
        if event in self.events or size + len(event.text.encode()) > PAGE_BYTES:
            return self
        return replace(self, events=(*self.events, event))

    def without_tools(self) -> "EventPage":
        return replace(self, events=tuple(event for event in self.events if event.type not in OF_TOOLS))


def key_of(account: str, name: str) -> str:
    return f"{account}\n{name}"


def resumed(session: AgentSession, now: datetime) -> AgentSession:
    return replace(session, status=SessionStatus.RUNNING, running_since=now, heard_at=now)


def finished(session: AgentSession, now: datetime) -> AgentSession:
    return replace(session, status=SessionStatus.FINISHED, heard_at=now)


def after_event(session: AgentSession, kind: EventType, assistant_text: str | None, now: datetime) -> AgentSession:
    """Return the session after an event; `assistant_text` is the text of a message of the assistant."""
    match kind:
        case EventType.SESSION_START:
            return resumed(session, now)
        case EventType.SESSION_STOP:
            return finished(session, now)
        case EventType.MESSAGE if assistant_text:
            return replace(session, result=assistant_text, result_at=now, heard_at=now)
        case _ if now - session.heard_at >= NOTE_INTERVAL:
            return replace(session, heard_at=now)
        case _:
            return session


def ended_with(session: AgentSession, last_job: Order | None, now: datetime) -> bool:
    """Return whether a session has ended, perhaps without its executor's report.

    It has if the last job of its name ended after the session began to run. Without such a job, it has if it has been
    silent for SILENT_AFTER.
    """
    if session.status is SessionStatus.FINISHED:
        return True
    if last_job is not None and not last_job.final:
        return False
    if last_job is not None and last_job.entered[last_job.state] >= session.running_since:
        return True
    return now - session.heard_at >= SILENT_AFTER
