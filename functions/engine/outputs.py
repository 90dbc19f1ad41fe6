"""Grants uploads and downloads of outputs by presigned URLs, and removes outputs after their retention."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from functions.domain.events import Succeed
from functions.domain.fence import fence
from functions.domain.order import UPLOAD_VALID, Order, Output, output_key, output_keys, uploads_below
from functions.domain.refusals import Conflict, Gone, Invalid, NotFound, WrongState
from functions.domain.rules import advance
from functions.ports import OrderStore, OutputBucket, PresignedUpload, StoredObject, UploadTerms
from shared.crash_points import Point, reach
from shared.domain.order import State
from shared.domain.spec import OrderKind
from shared.wire.base import FILE_NAME_PATTERN

DOWNLOAD_VALID: Final = timedelta(minutes=5)
PLAIN_NAME: Final = re.compile(FILE_NAME_PATTERN)


@dataclass(frozen=True, slots=True)
class Upload:
    """What an image reports of its upload. If `file_name` is None, the last part of the key is the name."""

    key: str
    file_name: str | None
    content_type: str


@dataclass(frozen=True, slots=True)
class Outputs:
    store: OrderStore
    bucket: OutputBucket
    clock: Callable[[], datetime]

    def grant_upload(
        self, order_id: str, epoch: int, content_type: str, size: int, sha256: str
    ) -> tuple[State, PresignedUpload]:
        """Return the order's state and a presigned upload, for exactly these bytes and this epoch's key.

        Raises NotFound, LeaseLost, Conflict, WrongState.
        """
        order = self.store.look(order_id).order
        fence(order, epoch)
        _require_output(order)
        if order.final:
            raise WrongState(f"The order is {order.state}; it accepts no uploads.", state=order.state)
        terms = UploadTerms(output_key(order.id, epoch), content_type, size, sha256)
        return order.state, self.bucket.presign_upload(terms, UPLOAD_VALID)

    def complete(
        self, order_id: str, epoch: int, request_id: str, output: Output, metrics: Mapping[str, int | float]
    ) -> State:
        """End the order with the output that its worker uploaded, and return its state.

        The rules are checked before the bucket, so that a repeat succeeds even if the output has been removed since.
        Raises NotFound, LeaseLost, WrongState, Conflict if the object is missing or differs.
        """
        seen, now = self.store.look(order_id), self.clock()
        fence(seen.order, epoch)
        _require_output(seen.order)
        event = Succeed(request_id, epoch, output, metrics)
        if advance(seen.order, event, now) is seen.order:
            return seen.order.state
        found = self.bucket.stat(output.key)
        if found is None:
            raise Conflict(f"There is no object {output.key} in the bucket; upload it first.")
        if (found.size, found.sha256) != (output.size, output.sha256):
            raise Conflict(
                f"The object {output.key} has {found.size} bytes and the SHA-256 {found.sha256}, "
                f"not {output.size} bytes and {output.sha256} as reported."
            )
        order = self.store.apply(order_id, event, now, seen)
        reach(Point.CALLBACK_COMPLETED)
        return order.state

    def accept(
        self, order_id: str, epoch: int, request_id: str, upload: Upload, metrics: Mapping[str, int | float]
    ) -> State:
        """End the order with an object that its image has uploaded by itself, and return its state.

        The size is what the bucket reports. Raises NotFound, LeaseLost, WrongState, Invalid if the key is not one of
        this order's, Conflict if there is no such object.
        """
        seen, now = self.store.look(order_id), self.clock()
        fence(seen.order, epoch)
        if seen.order.final:
            raise WrongState(f"The order is {seen.order.state}; it accepts no output.", state=seen.order.state)
        prefix = uploads_below(seen.order)
        name = upload.key.removeprefix(prefix or "")
        if prefix is None or name == upload.key or PLAIN_NAME.fullmatch(name) is None:
            raise Invalid("The output's key is not one of this order's.")
        found = self.bucket.stat(upload.key)
        if found is None:
            raise Conflict("The bucket has no object of this key; upload it first.")
        output = Output(upload.key, upload.file_name or name, upload.content_type, found.size, sha256=None)
        order = self.store.apply(order_id, Succeed(request_id, epoch, output, metrics), now, seen)
        reach(Point.CALLBACK_ACCEPTED)
        return order.state

    def link(self, order: Order) -> str:
        """Return a URL that downloads the output and is valid for 5 minutes. Raises WrongState, Gone, NotFound."""
        if order.state is not State.SUCCEEDED:
            raise WrongState(f"The order is {order.state}; only one that succeeded has an output.", state=order.state)
        if order.output is None:
            raise NotFound("The order succeeded, but has no output.")
        if order.discarded_at is not None:
            raise Gone(f"The output was removed on {order.discarded_at:%Y-%m-%d %H:%M} UTC; its retention was over.")
        return self.bucket.presign_download(order.output.key, order.output.file_name, DOWNLOAD_VALID)

    def discard(self, order: Order) -> None:
        """Remove every object that a worker of the order may have uploaded. Objects that do not exist are ignored."""
        for key in output_keys(order):
            self.bucket.delete(key)
        if (prefix := uploads_below(order)) is not None:
            self.bucket.delete_below(prefix)

    def stored(self, order: Order) -> StoredObject | None:
        """Return what the bucket has of the output; None if there is none, or if its retention is over."""
        if order.output is None or order.discarded_at is not None:
            return None
        return self.bucket.stat(order.output.key)


def _require_output(order: Order) -> None:
    """Raise Conflict if the order's kind has no output."""
    if order.kind is OrderKind.CAPACITY:
        raise Conflict("A capacity order has no output; its worker reports only that it started.")
