"""Counts what the clouds bill for in this process: requests, documents, bells, and the bucket's operations.

The libraries' own calls are counted, so nothing that an adapter does is overlooked. Requests to the bucket over
presigned URLs are counted at the HTTP client, because workers and clients send these in this process, too.
"""

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final
from unittest.mock import patch

import httpx
from botocore.client import BaseClient
from google.cloud.firestore_v1.services.firestore import FirestoreClient
from google.cloud.firestore_v1.types import Write
from google.cloud.pubsub_v1 import PublisherClient

from bench.reads import counting

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication


class Unit(StrEnum):
    """Something that is billed by the piece. `CLASS_A` and `CLASS_B` are the bucket's."""

    REQUEST = "requests"
    READ = "reads"
    WRITE = "writes"
    DELETE = "deletes"
    BELL = "bells"
    CLASS_A = "class A"
    CLASS_B = "class B"


Operations = Counter[Unit]

CLASS_B: Final = ("Get", "Head")
FREE: Final = ("Delete", "Abort")


class Meter:
    """Counts from its creation on."""

    def __init__(self) -> None:
        self._counts: Operations = Counter()
        self._lock = threading.Lock()

    def add(self, unit: Unit, count: int = 1) -> None:
        with self._lock:
            self._counts[unit] += count

    def during(self, act: Callable[[], object], times: int = 1) -> Operations:
        """Return what `act` causes: the average of this number of calls, rounded up."""
        before = Counter(self._counts)
        for _ in range(times):
            act()
        return Counter({unit: -(-(count - before[unit]) // times) for unit, count in self._counts.items()})


@contextmanager
def metered(bucket: str) -> Iterator[Meter]:
    """Count the operations of all clients in this process. `bucket` is the address of its server."""
    meter = Meter()
    firestore: Any = FirestoreClient
    replaced: dict[type, dict[str, Callable[..., Any]]] = {
        firestore: {
            **counting(lambda asked, streamed: meter.add(Unit.READ, asked + streamed)),
            "run_aggregation_query": _counted(firestore.run_aggregation_query, lambda *_, **__: meter.add(Unit.READ)),
            "commit": _counted(firestore.commit, lambda *_, request, **__: _count_writes(meter, request["writes"])),
            "delete_document": _counted(firestore.delete_document, lambda *_, **__: meter.add(Unit.DELETE)),
        },
        PublisherClient: {"publish": _counted(PublisherClient.publish, lambda *_, **__: meter.add(Unit.BELL))},
        BaseClient: {
            "_make_api_call": _counted(BaseClient._make_api_call, lambda _, name, *__: _count_call(meter, name))  # type: ignore[attr-defined]
        },
        httpx.Client: {
            "send": _counted(httpx.Client.send, lambda _, request, **__: _count_sent(meter, request, bucket))
        },
    }
    patches = [patch.object(kind, name, call) for kind, calls in replaced.items() for name, call in calls.items()]
    for one in patches:
        one.start()
    try:
        yield meter
    finally:
        for one in patches:
            one.stop()


def counting_requests(app: "WSGIApplication", meter: Meter) -> "WSGIApplication":
    def counted(environ: Any, start_response: Any) -> Any:
        meter.add(Unit.REQUEST)
        return app(environ, start_response)

    return counted


def _counted(call: Callable[..., Any], note: Callable[..., object]) -> Callable[..., Any]:
    def counted(*given: Any, **named: Any) -> Any:
        note(*given, **named)
        return call(*given, **named)

    return counted


def _count_writes(meter: Meter, writes: list[Write]) -> None:
    for write in writes:
        deleted = Write.pb(write).WhichOneof("operation") == "delete"
        meter.add(Unit.DELETE if deleted else Unit.WRITE)


def _count_call(meter: Meter, operation: str) -> None:
    if not operation.startswith(FREE):
        meter.add(Unit.CLASS_B if operation.startswith(CLASS_B) else Unit.CLASS_A)


def _count_sent(meter: Meter, sent: httpx.Request, bucket: str) -> None:
    if str(sent.url).startswith(bucket):
        meter.add(Unit.CLASS_A if sent.method == "PUT" else Unit.CLASS_B)
