"""The ports in this process's memory: for tests, and for a local stack without emulators. It ends with the process."""

import hashlib
import itertools
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from urllib.parse import quote

from shared.adapters import page_mark
from shared.domain.access import ApiKey
from shared.domain.events import AnyEvent
from shared.domain.lifecycle import advance
from shared.domain.order import Order, State
from shared.domain.refusals import Conflict, Forbidden, KeyReused, NotFound
from shared.ports import (
    Bell,
    Heard,
    IdempotencyKey,
    OrderPage,
    OrderQuery,
    PresignedUpload,
    Snapshot,
    StoredObject,
    UploadTerms,
)


class MemoryOrderStore:
    """Orders in a dictionary, changed under one lock; the version counts changes."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._orders: dict[str, Snapshot] = {}
        self._keys: dict[tuple[str, str], tuple[str, str]] = {}
        self._versions = itertools.count(1)

    def create(self, order: Order, key: IdempotencyKey) -> Order:
        with self._lock:
            used = self._keys.get((key.account, key.value))
            if used is None and order.id in self._orders:
                raise Conflict(f"There is an order {order.id} already, of another Idempotency-Key.")
            if used is None:
                self._keys[key.account, key.value] = (key.fingerprint, order.id)
                self._orders[order.id] = Snapshot(order, next(self._versions))
                return order
            fingerprint, order_id = used
            if fingerprint != key.fingerprint:
                raise KeyReused("This Idempotency-Key was used for another order; use a new key for a new order.")
            return self._orders[order_id].order

    def get(self, order_id: str) -> Order:
        with self._lock:
            return self._find(order_id).order

    def get_many(self, order_ids: Collection[str]) -> Mapping[str, Snapshot]:
        with self._lock:
            return {order_id: self._orders[order_id] for order_id in order_ids if order_id in self._orders}

    def apply(self, order_id: str, event: AnyEvent, now: datetime, seen: Snapshot | None = None) -> Order:  # noqa: ARG002 (reading again costs nothing here)
        with self._lock:
            order = self._find(order_id).order
            changed = advance(order, event, now)
            if changed is not order:
                self._orders[order_id] = Snapshot(changed, next(self._versions))
            return changed

    def page(self, query: OrderQuery) -> OrderPage:
        newest_first = sorted(self._all(), key=_newest_first, reverse=True)
        matching = [order for order in newest_first if _matches(order, query)]
        if query.after is not None:
            position = page_mark.read(query.after)
            matching = [order for order in matching if _newest_first(order) < position]
        page = matching[: query.limit]
        return OrderPage(page, page_mark.mark(page[-1]) if len(matching) > len(page) else None)

    def claimable(self, lanes: Collection[str], now: datetime, limit: int) -> Sequence[Snapshot]:
        with self._lock:
            waiting = [
                snapshot
                for snapshot in self._orders.values()
                if snapshot.order.state is State.QUEUED
                and snapshot.order.lane in lanes
                and snapshot.order.available_at <= now
            ]
        return sorted(waiting, key=lambda snapshot: snapshot.order.available_at)[:limit]

    def remembering(self, request_id: str) -> Sequence[Order]:
        return [order for order in self._all() if request_id in order.recent]

    def due(self, now: datetime, limit: int) -> Sequence[Snapshot]:
        with self._lock:
            due = [
                (snapshot.order.due_at, snapshot.order.id, snapshot)
                for snapshot in self._orders.values()
                if snapshot.order.due_at is not None and snapshot.order.due_at <= now
            ]
        return [snapshot for _, _, snapshot in sorted(due, key=lambda row: row[:2])[:limit]]

    def _find(self, order_id: str) -> Snapshot:
        if order_id not in self._orders:
            raise NotFound(f"There is no order {order_id}.")
        return self._orders[order_id]

    def _all(self) -> list[Order]:
        with self._lock:
            return [snapshot.order for snapshot in self._orders.values()]


def _newest_first(order: Order) -> tuple[datetime, str]:
    return order.created_at, order.id


def _matches(order: Order, query: OrderQuery) -> bool:
    return (
        query.account in (None, order.account)
        and query.state in (None, order.state)
        and query.kind in (None, order.kind)
    )


class MemoryKeyStore:
    def __init__(self) -> None:
        self._keys: dict[str, ApiKey] = {}

    def find(self, key_digest: str) -> ApiKey | None:
        return self._keys.get(key_digest)

    def add(self, key: ApiKey) -> None:
        self._keys[key.digest] = key


class MemoryDoorbell:
    """A broker of one topic and one subscription: each bell goes to one listener, again until it is acknowledged."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting: list[Bell] = []

    def ring(self, bell: Bell) -> None:
        with self._changed:
            self._waiting.append(bell)
            self._changed.notify()

    def listen(self, heard: Heard, most: int) -> "_MemoryListening":
        return _MemoryListening(self, heard, most)

    def take(self, stopped: threading.Event) -> Bell | None:
        """Wait for a bell; None once `stopped`."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or stopped.is_set())
            return None if stopped.is_set() else self._waiting.pop(0)

    def wake(self) -> None:
        with self._changed:
            self._changed.notify_all()


class _MemoryListening:
    def __init__(self, bell: MemoryDoorbell, heard: Heard, most: int) -> None:
        self._doorbell, self._heard = bell, heard
        self._stopped = threading.Event()
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(most)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stopped.set()
        self._doorbell.wake()
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        while (bell := self._doorbell.take(self._stopped)) is not None:
            if not self._heard(bell):
                self._doorbell.ring(bell)


class MemoryBucket:
    """Objects in a dictionary. Its URLs are for `put` and `fetch`, which do what the network would."""

    def __init__(self, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._clock = clock
        self._objects: dict[str, tuple[bytes, StoredObject]] = {}
        self._uploads: dict[str, tuple[UploadTerms, datetime]] = {}
        self._downloads: dict[str, tuple[str, datetime]] = {}

    def presign_upload(self, terms: UploadTerms, valid: timedelta) -> PresignedUpload:
        until = self._clock() + valid
        url = f"memory:///{quote(terms.key)}?until={quote(until.isoformat())}&sha256={terms.sha256}"
        self._uploads[url] = (terms, until)
        return PresignedUpload(url, {"content-type": terms.content_type, "content-length": str(terms.size)})

    def presign_download(self, key: str, file_name: str, valid: timedelta) -> str:
        until = self._clock() + valid
        url = f"memory:///{quote(key)}?until={quote(until.isoformat())}&filename={quote(file_name)}"
        self._downloads[url] = (key, until)
        return url

    def stat(self, key: str) -> StoredObject | None:
        stored = self._objects.get(key)
        return stored and stored[1]

    def delete(self, key: str) -> None:
        self._objects.pop(key, None)

    def put(self, upload: PresignedUpload, body: bytes) -> bool:
        """Upload as a client would; False where the terms do not allow these bytes, or not any more."""
        if upload.url not in self._uploads:
            return False
        terms, until = self._uploads[upload.url]
        sha256 = hashlib.sha256(body).hexdigest()
        if (len(body), sha256) != (terms.size, terms.sha256) or self._clock() > until:
            return False
        self._objects[terms.key] = (body, StoredObject(len(body), sha256))
        return True

    def fetch(self, url: str) -> bytes:
        """Download as a client would. Raises Forbidden where the URL is not one of ours, or not any more; NotFound."""
        key, until = self._downloads.get(url, ("", datetime.min.replace(tzinfo=UTC)))
        if self._clock() > until:
            raise Forbidden("This URL allows no download, or not any more.")
        if key not in self._objects:
            raise NotFound(f"There is no object {key}.")
        return self._objects[key][0]
