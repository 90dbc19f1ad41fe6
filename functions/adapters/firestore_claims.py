"""Claims of any order in Firestore: one request gets one order, even if several instances handle it at the same time.

The commit that claims an order also creates a document whose name is the request's id. If claims of one request race,
one of them commits. The document is an idempotency key like those of creates, and the sweep forgets it with them.
"""

import hashlib
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from google.api_core.exceptions import AlreadyExists, FailedPrecondition
from google.cloud.firestore import Client, CollectionReference
from pydantic import TypeAdapter, ValidationError

from functions.adapters import order_document
from functions.adapters.firestore_calls import ONCE, TRANSIENT, LostRace, persistently
from functions.adapters.reading import Document, order_of, present_order, read_one
from functions.domain.events import Claim
from functions.domain.holder import are_one
from functions.domain.order import Order
from functions.domain.refusals import Refusal
from functions.domain.rules import advance
from functions.ports.orders import KEY_TTL, Snapshot


@dataclass(frozen=True, slots=True)
class _Ticket:
    """The order that a request claimed."""

    order_id: str


TICKET: Final = TypeAdapter(_Ticket)


def lifetime(created_at: datetime | None) -> dict[str, datetime | None]:
    """Return the fields of an idempotency key by which the sweep forgets it, and Firestore itself, if no sweep runs.

    A key without a time lasts.
    """
    return {"created_at": created_at, "expires_at": created_at and created_at + KEY_TTL}


class FirestoreClaims:
    """`tickets` is the collection of idempotency keys."""

    def __init__(self, client: Client, orders: CollectionReference, tickets: CollectionReference) -> None:
        self._client, self._orders, self._tickets = client, orders, tickets

    def claim(self, seen: Snapshot, claim: Claim, now: datetime) -> Order:
        """Claim with one remote call if no other claimer was faster: two conditional writes in one commit."""
        # Only a write proves that `seen` is the current version: a refusal may be about an earlier one.
        with suppress(Refusal, *TRANSIENT):
            return self._take(seen, None, claim, now)
        return self._claim_present(seen.order.id, claim, now)

    @persistently
    def _claim_present(self, order_id: str, claim: Claim, now: datetime) -> Order:
        wanted = [self._tickets.document(_ticket_id(claim)), self._orders.document(order_id)]
        read: dict[str, Document] = {document.id: document for document in self._client.get_all(wanted, **ONCE)}
        ticket, order = (read[reference.id] for reference in wanted)
        if ticket.exists and (won := self._won(ticket, claim)) is not None:
            return won
        return self._take(present_order(order), ticket if ticket.exists else None, claim, now)

    def _take(self, seen: Snapshot, ticket: Document | None, claim: Claim, now: datetime) -> Order:
        """Write the claim and its ticket; replace a ticket whose order the request no longer holds. Raises LostRace."""
        changed = advance(seen.order, claim, now)
        differences = order_document.changes(seen.order, changed)
        if not differences:
            return changed
        batch = self._client.batch()
        unchanged = self._client.write_option(last_update_time=seen.version)
        batch.update(self._orders.document(changed.id), differences, unchanged)
        named: dict[str, Any] = {"order_id": changed.id, **lifetime(now)}
        if ticket is None:
            batch.create(self._tickets.document(_ticket_id(claim)), named)
        else:
            batch.update(ticket.reference, named, self._client.write_option(last_update_time=ticket.update_time))
        try:
            batch.commit(**ONCE)
        except (AlreadyExists, FailedPrecondition) as error:
            raise LostRace(
                f"Order {changed.id}, or what its claim's request holds, changed after it was read."
            ) from error
        return changed

    def _won(self, ticket: Document, claim: Claim) -> Order | None:
        """Return the order that the request holds; None if it has lost that order since, or if this version cannot read
        it.
        """
        document = self._orders.document(read_one(ticket, TICKET).order_id).get(**ONCE)
        try:
            order = order_of(document).order if document.exists else None
        except ValidationError:
            return None
        if order is None or order.lease is None or not are_one(order.lease.launcher, claim.launcher):
            return None
        return order if claim.request_id in order.recent else None


def _ticket_id(claim: Claim) -> str:
    return hashlib.sha256(f"claim\n{claim.request_id}".encode()).hexdigest()
