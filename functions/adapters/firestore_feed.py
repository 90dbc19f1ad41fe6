"""The feed of orders from Firestore: one stream reports which orders become queued, and which are to stop.

The library's own listener (`Query.on_snapshot`) is not used. While Firestore does not answer, it connects again without
a pause, which takes two thirds of a processor; if it ends, nobody is notified; and at each change it sorts all
documents that match, which it keeps. This feed keeps none. Each stream ends after STREAM_SECONDS, so that few documents
match, and so that a stream that is dead without an error is replaced.

A stream begins with the changes of OVERLAP before it. So it costs one read for each change, however many orders are
queued. What may have become queued before, while no stream was open, is reported as a gap; so is what changes while a
stream catches up, of which the emulator loses some.
"""

import threading
from collections.abc import Callable, Iterable, Iterator, Set
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import structlog
from cachetools import LRUCache
from google.api_core.exceptions import DeadlineExceeded, from_grpc_status
from google.cloud.firestore import Client, DocumentSnapshot, FieldFilter, Query
from google.cloud.firestore_v1 import _helpers
from google.cloud.firestore_v1.types import Document, ListenRequest, ListenResponse, Target, TargetChange
from pydantic import ValidationError

from functions.adapters.firestore import ORDERS
from functions.adapters.reading import note_unreadable, order_of
from functions.ports.orders import Snapshot
from shared.domain.order import State
from shared.log_events import LogEvent

STREAM_SECONDS: Final = 120.0
OVERLAP: Final = timedelta(seconds=10)
"""How far the clocks of other instances may be behind this one's, and how long their commits may take."""
FIRST_PAUSE: Final = 1.0
"""The pause (seconds) after a stream that failed. It doubles with each failure in a row, up to MAX_PAUSE."""
MAX_PAUSE: Final = 15.0
LATEST: Final = Query.DESCENDING
WINDOW: Final = 25
"""How many documents of each query a stream follows, the latest. If more change at once, older ones are sent once later
ones have left the query. At each commit, the emulator sends the whole window again: with 100 documents, that takes it
8 ms.
"""
MAX_REPORTED: Final = 4096
"""How many documents are remembered, so that each version is reported once."""

log = structlog.get_logger()


class FirestoreOrderFeed:
    """`pause` is the first pause, in seconds."""

    def __init__(self, client: Client, stream_seconds: float = STREAM_SECONDS, pause: float = FIRST_PAUSE) -> None:
        self._client, self._stream_seconds, self._pause = client, stream_seconds, pause

    def follow(self, on_order: Callable[[Snapshot], None], on_gap: Callable[[], None]) -> Callable[[], None]:
        following = _Following(self._client, self._stream_seconds, self._pause, on_order, on_gap)
        threading.Thread(target=following.run, name="order-feed", daemon=True).start()
        return following.stop


class _Following:
    """Reads one stream after the other, until it is stopped."""

    def __init__(
        self,
        client: Client,
        stream_seconds: float,
        pause: float,
        on_order: Callable[[Snapshot], None],
        on_gap: Callable[[], None],
    ) -> None:
        self._client, self._stream_seconds, self._first_pause = client, stream_seconds, pause
        self._on_order, self._on_gap = on_order, on_gap
        self._stopped = threading.Event()
        self._stream: Any = None
        self._ready = False
        """Whether the present stream has caught up with the store."""
        self._since = datetime.now(UTC) - OVERLAP
        """From when on changes are to be reported: a stream that never caught up leaves them to the next."""
        self._reported: LRUCache[str, object] = LRUCache(MAX_REPORTED)

    def stop(self) -> None:
        self._stopped.set()
        if (stream := self._stream) is not None:
            stream.cancel()

    def run(self) -> None:
        pause = self._first_pause
        while not self._stopped.is_set():
            why: Exception | None = None
            try:
                self._read_stream()
            except Exception as error:  # noqa: BLE001 (whatever ends a stream, the next one begins)
                why = error
            if self._stopped.is_set() or (self._ready and isinstance(why, DeadlineExceeded)):
                continue  # it was stopped, or has lived its time
            pause = self._first_pause if self._ready else pause
            message = (
                "The stream that reports new orders has ended. Until the next one, waiting claims query every 15 s."
            )
            log.warning(
                LogEvent.ORDER_FEED_LOST,
                message=message,
                why=type(why).__name__ if why else "ended",
                pause_seconds=pause,
            )
            self._stopped.wait(pause)
            pause = min(2 * pause, MAX_PAUSE)

    def _read_stream(self) -> None:
        queries, over = self._queries(self._since), threading.Event()
        self._ready, behind = False, set(range(len(queries)))
        try:
            self._stream = self._client._firestore_api.listen(
                requests=self._requests(queries, over),
                metadata=self._client._rpc_metadata,
                timeout=self._stream_seconds,
                retry=None,
            )
            if self._stopped.is_set():
                self._stream.cancel()
            for response in self._stream:
                kind = ListenResponse.pb(response).WhichOneof("response_type")
                if kind == "document_change" and self._is_news(response):
                    self._report(response.document_change.document)
                elif kind == "target_change" and not self._ready:
                    behind -= _caught_up(response.target_change, behind)
                    self._ready = not behind
                    if self._ready:
                        self._on_gap()
        finally:
            over.set()
            if self._ready:
                self._since = datetime.now(UTC) - OVERLAP

    def _requests(self, queries: Iterable[Query], over: threading.Event) -> Iterator[ListenRequest]:
        database = self._client._database_string
        for number, query in enumerate(queries, 1):
            parent, _ = query._parent._parent_info()
            target = Target.QueryTarget(parent=parent, structured_query=query._to_protobuf())
            yield ListenRequest(database=database, add_target=Target(query=target, target_id=number))
        over.wait()  # the stream ends with its requests

    def _queries(self, since: datetime) -> list[Query]:
        orders = self._client.collection(ORDERS)
        entered = f"entered.{State.QUEUED}"
        queued = orders.where(filter=FieldFilter("state", "==", State.QUEUED))
        to_stop = orders.where(filter=FieldFilter("cancel_requested_at", ">=", since))
        return [
            queued.where(filter=FieldFilter(entered, ">=", since)).order_by(entered, LATEST).limit(WINDOW),
            to_stop.order_by("cancel_requested_at", LATEST).limit(WINDOW),
        ]

    def _is_news(self, response: ListenResponse) -> bool:
        """Return whether this version of the document comes for the first time."""
        document = ListenResponse.pb(response).document_change.document  # its fields are read many times faster so
        version = (document.update_time.seconds, document.update_time.nanos)
        if self._reported.get(document.name) == version:
            return False
        self._reported[document.name] = version
        return True

    def _report(self, document: Document) -> None:
        _, _, path = document.name.partition("/documents/")
        fields = _helpers.decode_dict(document.fields, self._client)
        reference = self._client.document(path)
        read = DocumentSnapshot(reference, fields, True, None, document.create_time, document.update_time)
        try:
            snapshot = order_of(read)
        except ValidationError as error:
            note_unreadable({reference.id: error})
            return
        order = snapshot.order
        if order.state is State.QUEUED or (order.lease is not None and order.cancel_requested_at is not None):
            self._on_order(snapshot)


def _caught_up(change: TargetChange, behind: Set[int]) -> Set[int]:
    """Return the targets that this change says are current, numbered from 0: all that are behind if it names none.

    https://firebase.google.com/docs/firestore/reference/rpc/google.firestore.v1#targetchange
    Raises the error that ended a target.
    """
    if change.target_change_type == TargetChange.TargetChangeType.REMOVE:
        raise from_grpc_status(change.cause.code, change.cause.message)  # type: ignore[no-untyped-call]
    if change.target_change_type != TargetChange.TargetChangeType.CURRENT:
        return set()
    return {number - 1 for number in change.target_ids} or behind
