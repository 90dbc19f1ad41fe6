"""Reads the source over HTTP, with limits on the size, the time and the number of tries of each document.

A redirect is followed within the source's own origin, never to another host, and a source that is given by its name
is read at public addresses only. An answer that is compressed all the same
is not read: a few of its bytes may stand for gigabytes.
"""

import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Self, TypeVar, cast

import httpx

from shared.guest.config import Sources
from worker.arke import documents
from worker.arke.documents import Entity, UnreadableDocument
from worker.network import Client, NoHttpAnswer, answered, persist
from worker.public_addresses import AddressRefused

MAX_ID_LENGTH: Final = 128
"""In characters."""
PLAIN: Final = re.compile(rf"[A-Za-z0-9]{{1,{MAX_ID_LENGTH}}}")
"""An id that may be put into a path. PIs are base 32; CIDs are base 32, 36 or 58
(https://github.com/multiformats/cid)."""
MAX_REDIRECTS: Final = 3
TOO_SLOW: Final = "it took too long"
LARGE_BYTES: Final = 1 << 20
_one_large_document = threading.Lock()
"""Held while a document beyond LARGE_BYTES is read and parsed: an export's machine has 256 MiB unless it is given more,
and as Python values a document may take twenty times its size."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Limits:
    """The most that one entity may cost, in bytes and in seconds. What is beyond them counts as unreadable."""

    document_bytes: int = 32 << 20
    entity_bytes: int = 32 << 20
    """All documents of an entity together: they are in memory at the same time."""
    document_seconds: float = 60.0
    entity_seconds: float = 240.0


class EntityUnavailable(Exception):
    """The entity cannot be read.

    If `retryable`, another attempt may succeed. If not `answered`, the source may be gone.
    """

    def __init__(self, why: str, retryable: bool, answered: bool = True) -> None:
        super().__init__(f"Failed to fetch manifest: {why}")
        self.retryable, self.answered = retryable, answered


class Unanswered(UnreadableDocument):
    """The source did not answer, or not in time."""


class SourceRefused(Exception):
    """The source answered with an error status."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(f"{status} {text}".strip())
        self.status = status


class ArkeSource:
    """Reads the documents of one entity. `clock` returns seconds; the entity's time begins now."""

    def __init__(
        self,
        http: Client,
        sources: Sources,
        limits: Limits = Limits(),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._http, self._sources, self._limits, self._clock = http, sources, limits, clock
        self._bytes_left = limits.entity_bytes
        self._deadline = clock() + limits.entity_seconds

    def entity(self, pi: str) -> Entity:
        """Read an entity's manifest. Raises EntityUnavailable."""
        try:
            entity = self._read(f"{self._sources.api}/entities", pi, documents.entity)
        except SourceRefused as error:
            raise EntityUnavailable(str(error), retryable=not 400 <= error.status < 500) from error
        except UnreadableDocument as error:
            answered = not isinstance(error, Unanswered)
            raise EntityUnavailable(str(error), retryable=True, answered=answered) from error
        if entity.pi != pi:
            raise EntityUnavailable("it is another entity's", retryable=True)
        return entity

    def component(self, cid: str, parse: Callable[[bytearray], T]) -> T:
        """Read a component and return what `parse` makes of it. Raises UnreadableDocument."""
        try:
            return self._read(f"{self._sources.ipfs}/ipfs", cid, parse)
        except SourceRefused as error:
            raise UnreadableDocument(str(error)) from error

    def _read(self, base: str, name: str, parse: Callable[[bytearray], T]) -> T:
        if not PLAIN.fullmatch(name):
            raise UnreadableDocument("its id is not valid")
        deadline = min(self._deadline, self._clock() + self._limits.document_seconds)
        with _Turn() as turn:
            try:
                body = persist(lambda: self._read_once(f"{base}/{name}", deadline, turn))
            except NoHttpAnswer as error:
                raise Unanswered(str(error)) from error
            except AddressRefused as error:
                raise UnreadableDocument(str(error)) from error
            self._bytes_left -= len(body)
            return parse(body)

    def _read_once(self, url: str, deadline: float, turn: "_Turn") -> bytearray:
        if self._clock() > deadline:
            raise Unanswered(TOO_SLOW)
        for _ in range(1 + MAX_REDIRECTS):
            answer = self._http.fetch(url)
            try:
                if not answer.has_redirect_location:
                    return self._body(answered(answer), deadline, turn)
                url = _within_origin(url, answer.headers["location"])
            finally:
                answer.close()
        raise UnreadableDocument(f"it redirects more than {MAX_REDIRECTS} times")

    def _body(self, answer: httpx.Response, deadline: float, turn: "_Turn") -> bytearray:
        if not answer.is_success:
            raise SourceRefused(answer.status_code, answer.reason_phrase)
        if answer.headers.get("content-encoding", "identity") != "identity":
            raise UnreadableDocument("it is compressed")
        limit = min(self._limits.document_bytes, self._bytes_left)
        body = bytearray()
        for chunk in cast("httpx.SyncByteStream", answer.stream):
            body += chunk
            if len(body) > limit:
                raise UnreadableDocument(f"it is larger than {limit} bytes")
            if self._clock() > deadline:
                raise Unanswered(TOO_SLOW)
            if len(body) > LARGE_BYTES:
                turn.take(deadline - self._clock())
        return body


class _Turn:
    """One reader's turn at a large document, until the end of the `with` block."""

    def __init__(self) -> None:
        self._taken = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._taken:
            _one_large_document.release()

    def take(self, seconds: float) -> None:
        """Wait for the turn, unless it was taken before. Raises Unanswered."""
        if not self._taken and not _one_large_document.acquire(timeout=max(0.0, seconds)):
            raise Unanswered(TOO_SLOW)
        self._taken = True


def _within_origin(url: str, location: str) -> str:
    here = httpx.URL(url)
    there = here.join(location)
    if _origin(there) != _origin(here):
        raise UnreadableDocument("it redirects to another origin")
    return str(there)


def _origin(url: httpx.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port
