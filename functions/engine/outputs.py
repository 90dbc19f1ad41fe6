"""Grants uploads and downloads of outputs by presigned URLs, and removes outputs after their retention."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from functions.domain.events import Succeed
from functions.domain.fence import fence
from functions.domain.multipart import Part, parts_of
from functions.domain.order import HELD, UPLOAD_VALID, Order, Output, output_prefixes, outputs_below, uploads_below
from functions.domain.refusals import Conflict, Gone, NotFound, Unavailable, WrongState
from functions.domain.rules import advance
from functions.ports.orders import OrderStore
from functions.ports.outputs import OutputBucket, PartUploads, PresignedUpload, StoredObject, UploadTerms
from shared.crash_points import Point, reach
from shared.domain.order import State
from shared.domain.spec import OrderKind

DOWNLOAD_VALID: Final = timedelta(minutes=5)
PAGE: Final = 100
"""The number of parts that are granted at a time: their URLs expire together."""


@dataclass(frozen=True, slots=True)
class GrantedParts:
    """The next parts of an upload, of all that are `missing`, each with its presigned upload."""

    upload_id: str
    missing: int
    parts: tuple[tuple[Part, PresignedUpload], ...]


@dataclass(frozen=True, slots=True)
class Outputs:
    """`after_end` is called with an order that has ended, also by a repeat."""

    store: OrderStore
    bucket: OutputBucket
    clock: Callable[[], datetime]
    new_id: Callable[[], str]
    after_end: Callable[[Order], object]

    def grant_upload(self, order_id: str, epoch: int, terms: UploadTerms) -> tuple[State, PresignedUpload]:
        """Return the order's state and a presigned upload, for exactly these bytes.

        Raises NotFound, LeaseLost, Conflict, WrongState.
        """
        return self._require_open(order_id, epoch).state, self.bucket.presign_upload(terms, UPLOAD_VALID)

    def grant_parts(
        self, order_id: str, epoch: int, terms: UploadTerms, upload_id: str | None
    ) -> tuple[State, PresignedUpload | GrantedParts]:
        """Return the order's state and the next missing parts; one presigned upload if the bucket needs no parts.

        Without an `upload_id`, or if that upload is not open any more, a new upload is begun. The worker keeps the id
        (docs/adr/0020-large-outputs-in-parts.md). Raises NotFound, LeaseLost, Conflict, WrongState, Unavailable.
        """
        order, uploads = self._require_open(order_id, epoch), self.bucket.part_uploads
        if uploads is None or terms.size <= uploads.limits.single:
            return order.state, self.bucket.presign_upload(terms, UPLOAD_VALID)
        there = None if upload_id is None else uploads.find(terms.key, upload_id)
        if upload_id is None or there is None:
            for earlier in output_prefixes(order)[:-1]:
                uploads.abort(earlier)
            upload_id, there = uploads.begin(terms), {}
            reach(Point.UPLOAD_BEGUN)
        missing = [part for part in parts_of(terms.size, uploads.limits) if part.number not in there]
        page = tuple((part, uploads.presign(terms.key, upload_id, part, UPLOAD_VALID)) for part in missing[:PAGE])
        return order.state, GrantedParts(upload_id, len(missing), page)

    def complete(
        self,
        order_id: str,
        epoch: int,
        request_id: str,
        output: Output,
        metrics: Mapping[str, int | float],
        upload_id: str | None = None,
    ) -> Order:
        """End the order with the output that its worker uploaded, and return it.

        An `upload_id` names an upload in parts, which is completed first. The rules are checked before the bucket, so
        that a repeat succeeds even if the output has been removed since. Raises NotFound, LeaseLost, WrongState,
        Conflict if parts or the object are missing or differ, Unavailable.
        """
        seen, now = self.store.read(order_id), self.clock()
        fence(seen.order, epoch)
        _require_output(seen.order)
        event = Succeed(request_id, epoch, output, metrics)
        if advance(seen.order, event, now) is seen.order:
            self.after_end(seen.order)
            return seen.order
        uploads = self.bucket.part_uploads
        if uploads is not None and upload_id is not None:
            _join(uploads, output, upload_id)
            reach(Point.UPLOAD_COMPLETED)
        found = self.bucket.stat(output.key)
        if found is None:
            raise Conflict(f"There is no object {output.key} in the bucket; upload it first.")
        if (found.size, found.sha256) != (output.size, output.sha256):
            raise Conflict(
                f"The object {output.key} has {found.size} bytes and the SHA-256 {found.sha256}, "
                f"not {output.size} bytes and {output.sha256} as reported."
            )
        if uploads is not None and (upload_id is not None or epoch > 1):
            for prefix in output_prefixes(seen.order):
                uploads.abort(prefix)
        order = self.store.apply(order_id, event, now, seen)
        reach(Point.CALLBACK_COMPLETED)
        self.after_end(order)
        return order

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
        """Remove every object that a worker of the order may have uploaded, and every upload that it left open.

        An upload that is completed in the meantime leaves an object, so objects come last.
        """
        for prefix in filter(None, (outputs_below(order), uploads_below(order))):
            if self.bucket.part_uploads is not None:
                self.bucket.part_uploads.abort(prefix.removesuffix("/"))
            self.bucket.delete_below(prefix)

    def stored(self, order: Order) -> StoredObject | None:
        """Return what the bucket has of the output; None if there is none, or if its retention is over."""
        if order.output is None or order.discarded_at is not None:
            return None
        return self.bucket.stat(order.output.key)

    def abandon(self, order: Order) -> None:
        """Remove the parts that its workers left behind, if the order has no output and nobody works on it.

        If the bucket does not answer, the next epoch's upload or the output's removal does the same.
        """
        uploads = self.bucket.part_uploads
        if uploads is None or order.state in HELD or order.output is not None:
            return
        with suppress(Unavailable):
            for prefix in output_prefixes(order):
                uploads.abort(prefix)

    def _require_open(self, order_id: str, epoch: int) -> Order:
        """Return the order, which accepts an upload at this epoch. Raises NotFound, LeaseLost, Conflict, WrongState."""
        order = self.store.read(order_id).order
        fence(order, epoch)
        _require_output(order)
        if order.final:
            raise WrongState(f"The order is {order.state}; it accepts no uploads.", state=order.state)
        return order


def _join(uploads: PartUploads, output: Output, upload_id: str) -> None:
    """Complete the upload if it is still open: it is not if an earlier try succeeded. Raises Conflict, Unavailable."""
    there = uploads.find(output.key, upload_id)
    if there is None:
        return
    expected = {part.number: part.size for part in parts_of(output.size, uploads.limits)}
    if {number: part.size for number, part in there.items()} != expected:
        raise Conflict(f"The bucket has {len(there)} of the output's {len(expected)} parts; upload the others first.")
    uploads.complete(output.key, upload_id, there)


def _require_output(order: Order) -> None:
    """Raise Conflict if the order's kind has no output."""
    if order.kind is OrderKind.CAPACITY:
        raise Conflict("A capacity order has no output; its worker reports only that it started.")
