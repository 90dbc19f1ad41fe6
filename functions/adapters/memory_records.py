"""Small records in this process's memory."""

import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Generic, TypeVar

from functions.adapters import page_mark
from functions.domain.refusals import Conflict, NotFound, OtherVersion
from functions.ports.records import RecordPage

T = TypeVar("T")


class MemoryRecords(Generic[T]):
    """Keeps records in a dictionary under one lock. Those whose ids are in `unreadable` are treated as another
    version's.
    """

    def __init__(self) -> None:
        self.unreadable: set[str] = set()
        self._lock = threading.Lock()
        self._records: dict[str, T] = {}

    def add(self, id_: str, record: T) -> None:
        with self._lock:
            self._require_readable(id_)
            if self._records.setdefault(id_, record) != record:
                raise Conflict(f"There is a record of {id_} already.")

    def get(self, id_: str) -> T | None:
        with self._lock:
            self._require_readable(id_)
            return self._records.get(id_)

    def change(self, id_: str, change: Callable[[T], T]) -> T:
        with self._lock:
            self._require_readable(id_)
            if id_ not in self._records:
                raise NotFound(f"There is no record of {id_}.")
            self._records[id_] = change(self._records[id_])
            return self._records[id_]

    def upsert(self, id_: str, fresh: T, change: Callable[[T], T]) -> T:
        with self._lock:
            self._require_readable(id_)
            self._records[id_] = change(self._records[id_]) if id_ in self._records else fresh
            return self._records[id_]

    def take(self, id_: str, which: Callable[[T], bool] = lambda _: True) -> T | None:
        with self._lock:
            self._require_readable(id_)
            record = self._records.get(id_)
            return self._records.pop(id_) if record is not None and which(record) else None

    def find(self, field: str, value: str, limit: int) -> Sequence[T]:
        return [record for record in self.all(limit=1 << 30) if getattr(record, field) == value][:limit]

    def find_every(self, field: str, value: str, limit: int) -> Sequence[T]:
        with self._lock:
            meant = {id_: record for id_, record in self._records.items() if getattr(record, field) == value}
            for id_ in meant:
                self._require_readable(id_)
            return list(meant.values())[:limit]

    def latest(self, field: str, value: str, by: str, limit: int) -> Sequence[T]:
        found = self.find(field, value, limit=1 << 30)
        return sorted(found, key=lambda record: getattr(record, by), reverse=True)[:limit]

    def before(self, field: str, time: datetime, limit: int) -> Sequence[T]:
        old = [record for record in self.all(limit=1 << 30) if getattr(record, field) < time]
        return sorted(old, key=lambda record: getattr(record, field))[:limit]

    def page(self, where: Mapping[str, str | bool], by: str, limit: int, after: str | None = None) -> RecordPage[T]:
        with self._lock:
            found = [
                ((getattr(record, by), page_mark.name_of(id_)), record)
                for id_, record in self._records.items()
                if id_ not in self.unreadable and _has(record, where)
            ]
        found.sort(key=lambda one: one[0])
        if after is not None:
            position = page_mark.read(after)
            found = [one for one in found if one[0] > position]
        mark = page_mark.mark_at(*found[limit - 1][0]) if len(found) > limit else None
        return RecordPage([record for _, record in found[:limit]], mark)

    def count(self, where: Mapping[str, str | bool]) -> int:
        with self._lock:
            return sum(_has(record, where) for record in self._records.values())

    def all(self, limit: int) -> Sequence[T]:
        with self._lock:
            return [record for id_, record in self._records.items() if id_ not in self.unreadable][:limit]

    def _require_readable(self, id_: str) -> None:
        if id_ in self.unreadable:
            raise OtherVersion(f"{id_} was written by another version; send the same request again.")


def _has(record: object, where: Mapping[str, str | bool]) -> bool:
    return all(getattr(record, field) == value for field, value in where.items())
