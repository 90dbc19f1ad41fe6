"""Counts the documents that Firestore bills as read, at the client library's own calls."""

import mmap
import struct
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from google.cloud.firestore_v1.services.firestore import FirestoreClient

FORM: Final = struct.Struct("<QQ")


@dataclass(frozen=True, slots=True)
class Reads:
    """`asked` are the reads of queries, of which an empty one costs one, and of gets; `streamed` those of streams."""

    asked: int
    streamed: int

    def since(self, before: "Reads") -> "Reads":
        return Reads(self.asked - before.asked, self.streamed - before.streamed)


def count_reads(file: Path) -> None:
    """Count the reads of all clients of this process, from now on, into a file for `read_counts`."""
    file.write_bytes(bytes(FORM.size))
    with file.open("r+b") as opened:
        counts, lock = mmap.mmap(opened.fileno(), FORM.size), threading.Lock()

    def add(asked: int, streamed: int) -> None:
        with lock:
            before = FORM.unpack(counts[:])
            counts[:] = FORM.pack(before[0] + asked, before[1] + streamed)

    for name, call in counting(add).items():
        setattr(FirestoreClient, name, call)


def read_counts(file: Path) -> Reads:
    return Reads(*FORM.unpack(file.read_bytes()))


Add = Callable[[int, int], None]
"""Is called with further reads: those asked for, and those streamed."""


def counting(add: Add) -> dict[str, Callable[..., Any]]:
    """Return the methods of the library's client that read, by name, each of which calls `add`.

    If a stream sends a version of a document again, that is not counted, because only the emulator does it.
    """
    api: Any = FirestoreClient
    return {
        "run_query": _of_call(api.run_query, ("document",), add),
        "batch_get_documents": _of_call(api.batch_get_documents, ("found", "missing"), add),
        "listen": _of_stream(api.listen, add),
    }


def _of_call(call: Callable[..., Any], fields: Sequence[str], add: Add) -> Callable[..., Any]:
    def counted(*given: Any, **named: Any) -> Iterator[Any]:
        found = 0
        for response in call(*given, **named):
            found += any(field in response for field in fields)
            yield response
        add(max(found, 1), 0)

    return counted


class _Stream:
    def __init__(self, responses: Any, add: Add) -> None:
        self._responses, self._add, self.cancel = responses, add, responses.cancel

    def __iter__(self) -> Iterator[Any]:
        seen = dict[str, object]()
        for response in self._responses:
            if "document_change" in response:
                document = response.document_change.document
                if seen.get(document.name) != document.update_time:
                    seen[document.name] = document.update_time
                    self._add(0, 1)
            yield response


def _of_stream(call: Callable[..., Any], add: Add) -> Callable[..., Any]:
    return lambda *given, **named: _Stream(call(*given, **named), add)
