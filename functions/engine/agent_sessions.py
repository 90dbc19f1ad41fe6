"""Keeps the sessions of agents as their executors report them, and their events."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import chain
from typing import Final

from functions.domain.agent_sessions import (
    MAX_EVENT_BYTES,
    MAX_PAGES,
    SESSION_TTL,
    WHOLE_PAGES,
    AgentSession,
    EventPage,
    SessionStatus,
    StoredEvent,
    after_event,
    ended_with,
    finished,
    key_of,
)
from functions.domain.order import Order
from functions.domain.refusals import Conflict, NotFound, TooLarge
from functions.engine.concurrency import run_all
from functions.engine.session_jobs import SessionJobs
from functions.ports.records import Records

NO_SESSION: Final = "Session not found"
MAX_LISTED: Final = 200
"""The number of sessions that a list has: the newest."""
FORGET_SECONDS: Final = 6.0
"""The time that one sweep spends on sessions that are forgotten."""


@dataclass(frozen=True, slots=True)
class NewSession:
    """What an executor reports of the session that it has begun."""

    id: str
    name: str
    project_dir: str | None
    agent_name: str | None
    parent_session_name: str | None


@dataclass(frozen=True, slots=True)
class AgentSessions:
    """`caller` is the account of the key that was sent: the session's own, or that of the launcher that runs it."""

    records: Records[AgentSession]
    pages: Records[EventPage]
    jobs: SessionJobs
    clock: Callable[[], datetime]

    def create(self, caller: str, new: NewSession) -> AgentSession:
        """Store a new session, and return it. It belongs to the account whose job has its name, else to the caller's.

        It is the caller's, too, if the jobs of several accounts have its name. The parent that its job names counts,
        not the executor's. Raises Conflict if the session exists, Unavailable.
        """
        held, now = self.jobs.held_for(caller, new.name), self.clock()
        account = caller if held is None else held[0].account
        parent = held and held[1].parent_session_name
        session = AgentSession(
            id=new.id,
            account=account,
            reporter=caller,
            reported=key_of(caller, new.id),
            name=new.name,
            named=key_of(account, new.name),
            created_at=now,
            running_since=now,
            heard_at=now,
            project_dir=new.project_dir,
            agent_name=new.agent_name,
            parent_session_name=parent or new.parent_session_name,
        )
        if self._find(caller, new.id) is not None:
            raise _exists()
        try:
            self.records.add(session.key, session)
        except Conflict:
            raise _exists() from None
        return session

    def get(self, caller: str, session_id: str) -> AgentSession:
        """Return the session. If its job has ended without its executor's report, it is finished.

        Raises NotFound, also if it belongs to another account, and Unavailable.
        """
        session = self._find(caller, session_id)
        if session is None:
            raise NotFound(NO_SESSION)
        return self._settled(session)

    def get_by_name(self, caller: str, name: str) -> AgentSession:
        """Return the newest session of this name. Raises as `get` does."""
        held = self.jobs.held_for(caller, name)
        session = self.newest(caller if held is None else held[0].account, name)
        if session is None:
            raise NotFound(NO_SESSION)
        return self._settled(session)

    def newest(self, account: str, name: str) -> AgentSession | None:
        """Return the account's newest session of this name, as it is stored. Raises Unavailable."""
        return next(iter(self.records.latest("named", key_of(account, name), "created_at", 1)), None)

    def all(self, account: str) -> Sequence[AgentSession]:
        """Return the account's sessions as they are stored, the newest first, at most MAX_LISTED."""
        return self.records.latest("account", account, "created_at", MAX_LISTED)

    def add_event(self, caller: str, session_id: str, event: StoredEvent, assistant_text: str | None) -> AgentSession:
        """Store an event, and return the session after it. A repeat of the last events changes nothing.

        `assistant_text` is the text of a message of the assistant. Raises NotFound, TooLarge, Unavailable.
        """
        if len(event.text.encode()) > MAX_EVENT_BYTES:  # a number may be longer here than it was in the request
            raise TooLarge(f"The event is longer than {MAX_EVENT_BYTES} bytes.")
        session, now = self._require(caller, session_id), self.clock()
        self._append(session, event)
        if after_event(session, event.type, assistant_text, now) == session:
            return session
        return self._change(session, lambda stored: after_event(stored, event.type, assistant_text, now))

    def events(self, caller: str, session_id: str) -> Iterator[StoredEvent]:
        """Return the events that are kept, in the order in which they came: at most 8 MiB.

        Raises NotFound, Unavailable.
        """
        session = self._require(caller, session_id)
        pages = self.pages.find("session", session.pages_key, MAX_PAGES + 1)
        return chain.from_iterable(page.events for page in sorted(pages, key=lambda page: page.number))

    def update(
        self, caller: str, session_id: str, change: Callable[[AgentSession, datetime], AgentSession]
    ) -> AgentSession:
        """Replace the session with the result of `change`, and return that. Raises NotFound, Unavailable."""
        session, now = self._require(caller, session_id), self.clock()
        return self._change(session, lambda stored: change(stored, now))

    def delete(self, caller: str, session_id: str) -> None:
        """Remove the session and its events. Raises NotFound, Unavailable."""
        self._remove(self._require(caller, session_id))

    def remove_all(self, account: str) -> None:
        """Remove the account's sessions with their events. Raises Unavailable."""
        while sessions := self.all(account):
            for session in sessions:
                self._remove(session)

    def finish(self, job: Order) -> None:
        """Record that the session of a job that has ended does not run any more. Raises Unavailable.

        It does run if a launcher has another job of it.
        """
        session = self.newest(job.account, getattr(job.spec, "session_name", ""))
        if session is None or session.status is SessionStatus.FINISHED or not ended_with(session, job, self.clock()):
            return
        if self.jobs.held(session.account, session.name) is None:
            self._finish(session)

    def runs(self, account: str, name: str, last_job: Order | None) -> bool:
        """Return whether the account's newest session of this name runs. Raises Unavailable."""
        session = self.newest(account, name)
        return session is not None and not ended_with(session, last_job, self.clock())

    def forget(self, limit: int) -> int:
        """Remove sessions, at most `limit`, whose last event came long ago; return their number. Raises Unavailable."""
        old = self.records.before("heard_at", self.clock() - SESSION_TTL, limit)
        return len(run_all(self._remove, old, FORGET_SECONDS))

    def _require(self, caller: str, session_id: str) -> AgentSession:
        session = self._find(caller, session_id)
        if session is None:
            raise NotFound(NO_SESSION)
        return session

    def _find(self, caller: str, session_id: str) -> AgentSession | None:
        """Return the caller's own session of this id, or else the one that its executor has created."""
        key = key_of(caller, session_id)
        return self.records.get(key) or next(iter(self.records.find("reported", key, 1)), None)

    def _settled(self, session: AgentSession) -> AgentSession:
        if session.status is SessionStatus.FINISHED:
            return session
        ended = ended_with(session, self.jobs.last(session.account, session.name), self.clock())
        return self._finish(session) if ended else session

    def _finish(self, session: AgentSession) -> AgentSession:
        """Record that the session has ended, unless it was resumed after it was read."""
        now = self.clock()
        return self._change(
            session, lambda stored: finished(stored, now) if stored.running_since == session.running_since else stored
        )

    def _append(self, session: AgentSession, event: StoredEvent) -> None:
        """Store the event on the last page, or on a new one if there is no room."""
        number = session.last_page
        while True:
            fresh = EventPage(session.pages_key, number, (event,))
            page = self.pages.upsert(session.page_id(number), fresh, lambda stored: stored.with_event(event))
            if event in page.events:
                break
            number += 1
        if number > session.last_page:
            self._turn_to(session, number)

    def _turn_to(self, session: AgentSession, number: int) -> None:
        """Record the new last page, and drop what the session does not keep beside it."""
        first = max(session.first_page, number - MAX_PAGES + 1)
        for dropped in range(session.first_page, first):
            self.pages.take(session.page_id(dropped))
        if number - WHOLE_PAGES >= first:
            with suppress(NotFound):
                self.pages.change(session.page_id(number - WHOLE_PAGES), EventPage.without_tools)
        self._change(
            session,
            lambda stored: replace(
                stored, first_page=max(stored.first_page, first), last_page=max(stored.last_page, number)
            ),
        )

    def _change(self, session: AgentSession, change: Callable[[AgentSession], AgentSession]) -> AgentSession:
        try:
            return self.records.change(session.key, change)
        except NotFound:
            raise NotFound(NO_SESSION) from None  # it was removed meanwhile

    def _remove(self, session: AgentSession) -> None:
        """Remove the events first: what a failure leaves is still found by the session.

        A process that died in `_append` has left a page that the session does not know.
        """
        number = session.first_page
        while self.pages.take(session.page_id(number)) is not None or number < session.last_page:
            number += 1
        self.records.take(session.key)


def _exists() -> Conflict:
    return Conflict("Session already exists")
