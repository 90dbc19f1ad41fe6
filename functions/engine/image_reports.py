"""Reports of programs in foreign images: they act on no refusal, so a report that must change nothing is accepted.

Why it changed nothing is logged.
"""

import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

import structlog

from functions.domain.events import EventKind, Fail, Start, Succeed
from functions.domain.fence import fence
from functions.domain.order import Order, Output, copy_key, uploads_below
from functions.domain.refusals import Conflict, Invalid, LeaseLost, WrongState
from functions.ports.orders import OrderStore, Snapshot
from functions.ports.outputs import OutputBucket
from shared.crash_points import Point, reach
from shared.log_events import LogEvent
from shared.wire.base import FILE_NAME_PATTERN


class Ignored(StrEnum):
    """Why a report changed nothing."""

    FORGED = "forged"
    UNKNOWN_TASK = "unknown_task"
    WRONG_TASK = "wrong_task"
    WRONG_KEY = "wrong_key"
    NO_OBJECT = "no_object"
    EARLIER_ATTEMPT = "late"
    REPEATED = "repeated"
    CONTRADICTING = "contradicting"
    ANOTHERS = "anothers"


AUTHENTIC: Final = frozenset({Ignored.EARLIER_ATTEMPT, Ignored.REPEATED, Ignored.CONTRADICTING})
"""What may happen to a program that keeps to its contract."""
PLAIN_NAME: Final = re.compile(FILE_NAME_PATTERN)
POINTS: Final[Mapping[EventKind, Point]] = {
    EventKind.START: Point.CALLBACK_STARTED,
    EventKind.SUCCEED: Point.CALLBACK_COMPLETED,
    EventKind.FAIL: Point.CALLBACK_FAILED,
}

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Upload:
    """What an image reports of its upload. If `file_name` is None, the last part of the key is the name."""

    key: str
    file_name: str | None
    content_type: str


@dataclass(frozen=True, slots=True)
class ImageReports:
    """An image runs no session, so nothing follows from the end of its order."""

    store: OrderStore
    clock: Callable[[], datetime]

    def read(self, order_id: str) -> Snapshot:
        """Return the order as it is now. Raises NotFound."""
        return self.store.read(order_id)

    def apply(self, seen: Snapshot, report: Start | Succeed | Fail) -> Ignored | None:
        """Apply the report to the order. Return None, or why it changed nothing. Raises NotFound, Unavailable."""
        after = apply_once(self.store, seen.order, report, self.clock(), seen)
        if isinstance(after, Ignored):
            return after
        reach(POINTS[report.kind])
        return None


@dataclass(frozen=True, slots=True)
class ImageUploads:
    """Objects that images have uploaded by themselves."""

    store: OrderStore
    bucket: OutputBucket
    clock: Callable[[], datetime]
    new_id: Callable[[], str]

    def accept(
        self, seen: Snapshot, epoch: int, request_id: str, upload: Upload, metrics: Mapping[str, int | float]
    ) -> Ignored | None:
        """End the order with the uploaded object. Return None, or why the report changed nothing.

        The output is a copy of the object, at a key that no other call has: until the image's credentials expire, they
        can replace the object, but not the copy. The size is that of the copy. Raises NotFound, Invalid if the key is
        not one of this order's, Conflict if there is no such object, Unavailable.
        """
        why = ignored(seen.order, epoch, request_id)
        if why is not None:
            return why
        prefix = uploads_below(seen.order)
        name = upload.key.removeprefix(prefix or "")
        if prefix is None or name == upload.key or PLAIN_NAME.fullmatch(name) is None:
            raise Invalid("The output's key is not one of this order's.")
        key = copy_key(seen.order.id, epoch, self.new_id(), name)
        size = self.bucket.copy(upload.key, key, upload.content_type)
        if size is None:
            raise Conflict("The bucket has no object of this key; upload it first.")
        output = Output(key, upload.file_name or name, upload.content_type, size, sha256=None)
        event = Succeed(request_id, epoch, output, metrics)
        after = apply_once(self.store, seen.order, event, self.clock(), seen)
        if isinstance(after, Ignored):
            return after
        reach(Point.CALLBACK_ACCEPTED)
        return None


def apply_once(
    store: OrderStore, order: Order, report: Start | Succeed | Fail, now: datetime, seen: Snapshot | None
) -> Order | Ignored:
    """Apply a report; return the order after it, or why the report changed nothing. Raises NotFound, Unavailable."""
    why = ignored(order, report.epoch, report.request_id)
    if why is not None:
        return why
    try:
        return store.apply(order.id, report, now, seen)
    except LeaseLost:
        return Ignored.EARLIER_ATTEMPT
    except WrongState:
        return Ignored.CONTRADICTING


def ignored(order: Order, epoch: int, request_id: str) -> Ignored | None:
    """Return why a report of this epoch can change nothing; None if it may change the order.

    What else is wrong with a report that changes nothing does not matter.
    """
    if epoch == order.epoch and request_id in order.recent:
        return Ignored.REPEATED
    try:
        fence(order, epoch)
    except LeaseLost:
        return Ignored.EARLIER_ATTEMPT
    return Ignored.CONTRADICTING if order.final else None


def log_ignored(why: Ignored, order_id: str, callback: str) -> None:
    level = logging.INFO if why in AUTHENTIC else logging.WARNING
    message = "A callback was refused or ignored; the task has not changed."
    log.log(level, LogEvent.CALLBACK_IGNORED, message=message, order_id=order_id, callback=callback, why=why.value)
