"""Reads Firestore documents, some of which another version of the control plane may have written.

During a roll-out, and after a rollback, there may be documents that this version cannot read. A read by id raises
`OtherVersion`: the caller repeats the request until an instance that can read the document answers. A query skips such
documents, and its mark follows the last document that was read, readable or not: an unreadable document neither ends a
list nor hides the documents behind it.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

import structlog
from cachetools import TTLCache
from google.cloud.firestore import DocumentReference, DocumentSnapshot, Query
from google.cloud.firestore_v1.base_aggregation import AggregationResult
from pydantic import TypeAdapter, ValidationError

from functions.adapters import order_document
from functions.adapters.firestore_calls import ONCE
from functions.adapters.order_document import plain
from functions.domain.refusals import NotFound, OtherVersion
from functions.ports.orders import Snapshot
from shared.log_events import LogEvent

MAX_READ: Final = 10_000
"""The limit of documents that one search reads."""
PAGE_SIZE: Final = 500
"""The number of documents that a query reads to continue past unreadable ones."""
MAX_NAMED: Final = 5
"""The number of documents that one log line names."""
LOG_INTERVAL_SECONDS: Final = 600.0
"""A document is logged at most once in this time."""

T = TypeVar("T")
Document = DocumentSnapshot[DocumentReference]

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Reading(Generic[T]):
    """The result of a query. If not `whole`, there may be more after `last`, the last document that was read."""

    found: Sequence[T]
    last: Document | None
    whole: bool


class UnreadableLog:
    """Logs the documents that were skipped, each at most once in `seconds`; it remembers at most `most` of them."""

    def __init__(self, most: int = MAX_READ, seconds: float = LOG_INTERVAL_SECONDS) -> None:
        self._logged: TTLCache[str, bool] = TTLCache(most, seconds)
        self._lock = threading.Lock()

    def note(self, passed: Mapping[str, ValidationError]) -> None:
        """Log which documents were skipped, and why."""
        with self._lock:  # many requests read at once, and two that write at once would corrupt the cache
            news = [id_ for id_ in passed if id_ not in self._logged][:MAX_NAMED]
            self._logged.update(dict.fromkeys(news, True))
        if not news:
            return
        wrong = sorted({".".join(map(str, one["loc"])) for id_ in news for one in passed[id_].errors()})
        message = "Documents of another version cannot be read; they were skipped."
        log.error(LogEvent.DOCUMENTS_SKIPPED, message=message, documents=news, fields=wrong, skipped=len(passed))


note_unreadable: Final = UnreadableLog().note


def read_past(query: Query, limit: int, decode: Callable[[Document], T]) -> Reading[T]:
    """Return the first `limit` readable documents of the query. If all documents are readable, this takes one query.

    Stop after MAX_READ documents, or after `limit` if that is more.
    """
    found, passed, last, read = list[T](), dict[str, ValidationError](), None, 0
    whole, most = False, max(MAX_READ, limit)
    while not whole and len(found) < limit and read < most:
        asked = max(limit - len(found), min(read, PAGE_SIZE))
        page = query if last is None else query.start_after(last)
        documents: list[Document] = list(page.limit(asked).stream(**ONCE))
        whole = len(documents) < asked
        for document in documents:
            last, read = document, read + 1
            try:
                found.append(decode(document))
            except ValidationError as error:
                passed[document.id] = error
            if len(found) == limit:
                whole = False
                break
    note_unreadable(passed)
    return Reading(found, last, whole)


def read_page(query: Query, limit: int, decode: Callable[[Document], T]) -> Reading[T]:
    """Return the readable ones of the query's first `limit` documents. This takes one query."""
    found, passed = list[T](), dict[str, ValidationError]()
    documents: list[Document] = list(query.limit(limit).stream(**ONCE))
    for document in documents:
        try:
            found.append(decode(document))
        except ValidationError as error:
            passed[document.id] = error
    note_unreadable(passed)
    return Reading(found, documents[-1] if documents else None, len(documents) < limit)


def count(query: Query) -> int:
    """Return the number of the query's documents, readable or not. Firestore bills it by the thousand."""
    answers: list[list[AggregationResult]] = query.count().get(**ONCE)  # type: ignore[assignment]  # the stub declares one list; the library returns one for each document
    return int(answers[0][0].value)


def order_of(document: Document) -> Snapshot:
    """Return the document's order. Raises ValidationError."""
    return Snapshot(order_document.decode(document.to_dict() or {}), document.update_time)


def present_order(document: Document) -> Snapshot:
    """Return the order of a document that may not exist. Raises NotFound, OtherVersion."""
    if not document.exists:
        raise NotFound("There is no such order.")
    try:
        return order_of(document)
    except ValidationError as error:
        raise other_version(f"The order {document.id}") from error


def read_one(document: Document, form: TypeAdapter[T]) -> T:
    """Return the document's value; fields that a later version added are ignored. Raises OtherVersion."""
    try:
        return parse(document, form)
    except ValidationError as error:
        raise other_version(document.id) from error


def parse(document: Document, form: TypeAdapter[T]) -> T:
    """Do the same as `read_one`, but raise ValidationError."""
    fields: dict[str, Any] = document.to_dict() or {}
    return form.validate_python(plain(fields), extra="ignore")


def other_version(what: str) -> OtherVersion:
    return OtherVersion(f"{what} was written by another version of the control plane; send the same request again.")
