"""Reads the source over HTTP, with limits on the size of a document and on the number of tries."""

import re
from typing import Final

import httpx

from shared.guest.config import Sources
from worker.arke import documents
from worker.arke.documents import Entity, UnreadableDocument
from worker.network import NoHttpAnswer, answered, persist

MAX_BYTES: Final = 32 << 20
"""The limit of one document: the machine's memory is small, and OCR texts are much smaller than this."""
PLAIN: Final = re.compile(r"[A-Za-z0-9]{1,128}")
"""An id that may be put into a path. PIs are base 32; CIDs are base 32, 36 or 58
(https://github.com/multiformats/cid)."""


class EntityUnavailable(Exception):
    """The entity cannot be read. If `retryable`, another attempt may succeed."""

    def __init__(self, why: str, retryable: bool) -> None:
        super().__init__(f"Failed to fetch manifest: {why}")
        self.retryable = retryable


class SourceRefused(Exception):
    """The source answered with an error status."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(f"{status} {text}".strip())
        self.status = status


class ArkeSource:
    def __init__(self, http: httpx.Client, sources: Sources) -> None:
        self._http, self._sources = http, sources

    def entity(self, pi: str) -> Entity:
        """Read an entity's manifest. Raises EntityUnavailable."""
        try:
            return documents.entity(self._read(f"{self._sources.api}/entities", pi))
        except SourceRefused as error:
            raise EntityUnavailable(str(error), retryable=not 400 <= error.status < 500) from error
        except (NoHttpAnswer, UnreadableDocument) as error:
            raise EntityUnavailable(str(error), retryable=True) from error

    def component(self, cid: str) -> bytes:
        """Return a component's bytes. Raises UnreadableDocument."""
        try:
            return self._read(f"{self._sources.ipfs}/ipfs", cid)
        except (SourceRefused, NoHttpAnswer) as error:
            raise UnreadableDocument(str(error)) from error

    def _read(self, base: str, name: str) -> bytes:
        if not PLAIN.fullmatch(name):
            raise UnreadableDocument("its id is not valid")
        return persist(lambda: self._read_once(f"{base}/{name}"))

    def _read_once(self, url: str) -> bytes:
        with self._http.stream("GET", url, follow_redirects=True) as answer:
            if not answered(answer).is_success:
                raise SourceRefused(answer.status_code, answer.reason_phrase)
            return _body(answer)


def _body(answer: httpx.Response) -> bytes:
    body = bytearray()
    for chunk in answer.iter_bytes():
        body += chunk
        if len(body) > MAX_BYTES:
            raise UnreadableDocument(f"it is larger than {MAX_BYTES} bytes")
    return bytes(body)
