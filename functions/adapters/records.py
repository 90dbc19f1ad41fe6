"""Small records in Firestore, in one collection for each kind."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Generic, TypeVar

from google.api_core.exceptions import AlreadyExists, FailedPrecondition
from google.cloud.firestore import Client, DocumentReference, DocumentSnapshot, FieldFilter, Query
from pydantic import TypeAdapter

from functions.adapters import page_mark
from functions.adapters.firestore_calls import ONCE, TRANSIENT, LostRace, of_callers, persistently
from functions.adapters.order_document import plain
from functions.adapters.reading import count, parse, read_one, read_past
from functions.domain.refusals import Conflict, NotFound
from functions.ports.records import RecordPage

T = TypeVar("T")


class FirestoreRecords(Generic[T]):
    """Stores one document for each record, named by its id's SHA-256: Firestore does not allow every id as a name."""

    def __init__(self, client: Client, collection: str, kind: type[T]) -> None:
        self._client = client
        self._records = client.collection(collection)
        self._form: TypeAdapter[T] = TypeAdapter(kind)

    @persistently
    def add(self, id_: str, record: T) -> None:
        try:
            self._document(id_).create(self._encoded(record), **ONCE)
        except (AlreadyExists, *TRANSIENT) as error:
            present = self._document(id_).get(**ONCE)
            if not present.exists:
                raise
            if self._decoded(present) != record:  # else this call added it, and the answer was lost
                raise Conflict(f"There is a record of {id_} already.") from error

    @persistently
    def get(self, id_: str) -> T | None:
        document = self._document(id_).get(**ONCE)
        return self._decoded(document) if document.exists else None

    @persistently
    def change(self, id_: str, change: Callable[[T], T]) -> T:
        document = self._document(id_).get(**ONCE)
        if not document.exists:
            raise NotFound(f"There is no record of {id_}.")
        return self._changed(document, change)

    @persistently
    def upsert(self, id_: str, fresh: T, change: Callable[[T], T]) -> T:
        document = self._document(id_).get(**ONCE)
        if document.exists:
            return self._changed(document, change)
        try:
            self._document(id_).create(self._encoded(fresh), **ONCE)
        except AlreadyExists as error:
            raise LostRace(f"A record of {id_} was added after it was looked for.") from error
        return fresh

    @persistently
    def take(self, id_: str, which: Callable[[T], bool] = lambda _: True) -> T | None:
        document = self._document(id_).get(**ONCE)
        if not document.exists or not which(record := self._decoded(document)):
            return None
        unchanged = self._client.write_option(last_update_time=document.update_time)
        try:
            self._document(id_).delete(unchanged, **ONCE)
        except FailedPrecondition as error:
            raise LostRace(f"The record of {id_} changed after it was read.") from error
        return record

    @of_callers
    @persistently
    def find(self, field: str, value: str, limit: int) -> Sequence[T]:
        return self._read_past(self._where(field, value), limit)

    @persistently
    def find_every(self, field: str, value: str, limit: int) -> Sequence[T]:
        return [self._decoded(document) for document in self._where(field, value).limit(limit).stream(**ONCE)]

    @of_callers
    @persistently
    def latest(self, field: str, value: str, by: str, limit: int) -> Sequence[T]:
        return self._read_past(self._where(field, value).order_by(by, direction=Query.DESCENDING), limit)

    @persistently
    def before(self, field: str, time: datetime, limit: int) -> Sequence[T]:
        return self._read_past(self._records.where(filter=FieldFilter(field, "<", time)).order_by(field), limit)

    @of_callers
    @persistently
    def page(self, where: Mapping[str, str | bool], by: str, limit: int, after: str | None = None) -> RecordPage[T]:
        query = self._with(where).order_by(by).order_by("__name__")
        if after is not None:
            time, name = page_mark.read(after)
            query = query.start_after({by: time, "__name__": self._records.document(name)})
        read = read_past(query, limit + 1, lambda document: (document, parse(document, self._form)))
        last = read.found[limit - 1][0] if len(read.found) > limit else None if read.whole else read.last
        mark = None if last is None else page_mark.mark_at(plain(last.get(by)), last.id)
        return RecordPage([record for _, record in read.found[:limit]], mark)

    @of_callers
    @persistently
    def count(self, where: Mapping[str, str | bool]) -> int:
        return count(self._with(where))

    @persistently
    def all(self, limit: int) -> Sequence[T]:
        return self._read_past(Query(self._records), limit)

    def _changed(self, document: DocumentSnapshot[Any], change: Callable[[T], T]) -> T:
        """Write the result of `change` if it differs from the document. Raises LostRace."""
        present = self._decoded(document)
        changed = change(present)
        if changed == present:
            return present
        unchanged = self._client.write_option(last_update_time=document.update_time)
        try:
            document.reference.update(self._encoded(changed), unchanged, **ONCE)
        except FailedPrecondition as error:
            raise LostRace(f"The record {document.id} changed after it was read.") from error
        return changed

    def _where(self, field: str, value: str) -> Query:
        return self._with({field: value})

    def _with(self, where: Mapping[str, str | bool]) -> Query:
        query = Query(self._records)
        for field, value in where.items():
            query = query.where(filter=FieldFilter(field, "==", value))
        return query

    def _read_past(self, query: Query, limit: int) -> Sequence[T]:
        return read_past(query, limit, lambda document: parse(document, self._form)).found

    def _document(self, id_: str) -> DocumentReference:
        return self._records.document(page_mark.name_of(id_))

    def _encoded(self, record: T) -> dict[str, Any]:
        document: dict[str, Any] = self._form.dump_python(record)
        return document

    def _decoded(self, document: DocumentSnapshot[Any]) -> T:
        return read_one(document, self._form)
